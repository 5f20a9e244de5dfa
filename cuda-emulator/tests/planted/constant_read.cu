// What the kernel has written is read through the cache for memory that nobody writes.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    a[threadIdx.x] = b[threadIdx.x];
    __syncthreads();
#ifdef BUG
    float v = __ldg(a + 127 - threadIdx.x);  // fault
#else
    float v = a[127 - threadIdx.x];
#endif
    __syncthreads();
    a[128 + threadIdx.x] = v;
}
