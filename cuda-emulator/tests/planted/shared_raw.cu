// Read after write in shared memory: a barrier between the two is missing.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float tile[128];
    tile[threadIdx.x] = b[threadIdx.x];
#ifndef BUG
    __syncthreads();
#endif
    a[threadIdx.x] = tile[127 - threadIdx.x];  // fault
}
