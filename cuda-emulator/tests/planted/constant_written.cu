// A write to a constant variable.
__constant__ float CONSTANT[4] = {1, 2, 3, 4};
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    float* to = const_cast<float*>(CONSTANT) + n % 4;
#else
    float* to = a + 128 + threadIdx.x;
#endif
    asm volatile("" : "+l"(to));  // so that the compiler does not see it
    *to = 2;  // fault
    a[threadIdx.x] = CONSTANT[n % 4];
}
