// Two blocks own the same output.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    a[threadIdx.x] = b[threadIdx.x] + blockIdx.x;  // fault
#else
    a[blockIdx.x * 128 + threadIdx.x] = b[threadIdx.x] + blockIdx.x;
#endif
}
