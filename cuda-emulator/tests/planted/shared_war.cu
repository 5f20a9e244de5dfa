// Write after read: the tile is filled again while other warps may still read it.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[128];
    float sum = 0;
    for (int i = 0; i < 3; ++i) {
        tile[threadIdx.x] = b[threadIdx.x + i];  // fault
        __syncthreads();
        sum += tile[127 - threadIdx.x];  // fault
#ifndef BUG
        __syncthreads();
#endif
    }
    a[threadIdx.x] = sum;
}
