// More threads in a block than the kernel was compiled for.
#ifdef BUG
#define MOST 64
#else
#define MOST 128
#endif
extern "C" __global__ void __launch_bounds__(MOST) planted(float* a, const float* b, unsigned* c, int n) {
    a[threadIdx.x] = b[threadIdx.x];
}
#undef MOST
