// Warps of one block hand numbers to each other through device memory without a barrier.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    float* mine = a + blockIdx.x * 128;
    mine[threadIdx.x] = b[threadIdx.x];
#ifndef BUG
    __syncthreads();
#endif
    float v = ((volatile float*)mine)[127 - threadIdx.x];  // fault
    __syncthreads();
    mine[threadIdx.x] = v + 1;
}
