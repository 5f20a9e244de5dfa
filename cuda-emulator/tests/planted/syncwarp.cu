// Lanes of a warp hand numbers to each other through shared memory without __syncwarp.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[128];
    int first = threadIdx.x & ~31, lane = threadIdx.x & 31;
    tile[threadIdx.x] = b[threadIdx.x];
#ifndef BUG
    __syncwarp();
#endif
    a[threadIdx.x] = tile[first + 31 - lane];  // fault
}
