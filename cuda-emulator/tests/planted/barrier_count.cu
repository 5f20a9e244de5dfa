// A named barrier that waits for more warps than come.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[64];
    int warp = threadIdx.x / 32;
    if (warp < 2) {
        tile[threadIdx.x] = b[threadIdx.x];
#ifdef BUG
        asm volatile("bar.sync 1, 96;" ::: "memory");  // fault
#else
        asm volatile("bar.sync 1, 64;" ::: "memory");
#endif
        a[threadIdx.x] = tile[63 - threadIdx.x];
    }
}
