// Part of a tile is not filled where the input ends.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[128];
    if (threadIdx.x < n) tile[threadIdx.x] = b[threadIdx.x];
#ifndef BUG
    else tile[threadIdx.x] = 0;
#endif
    __syncthreads();
    a[threadIdx.x] = tile[127 - threadIdx.x];  // fault
}
