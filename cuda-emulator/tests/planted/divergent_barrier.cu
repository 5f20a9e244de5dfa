// __syncthreads where only half a warp comes by.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[128];
    tile[threadIdx.x] = b[threadIdx.x];
#ifdef BUG
    if (threadIdx.x % 32 < 16) {
        __syncthreads();  // fault
        a[threadIdx.x] = tile[127 - threadIdx.x];
    } else {
        __syncthreads();  // fault
        a[threadIdx.x] = tile[127 - threadIdx.x] + 1;
    }
#else
    __syncthreads();
    a[threadIdx.x] = tile[127 - threadIdx.x] + (threadIdx.x % 32 < 16 ? 0 : 1);
#endif
}
