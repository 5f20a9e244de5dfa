// The last block sums what the others wrote. Without a fence its sight of their numbers is not promised.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        a[1 + blockIdx.x] = b[blockIdx.x];
#ifndef BUG
        __threadfence();
#endif
        last = atomicAdd(c, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x < 32) {
        float v = threadIdx.x < gridDim.x ? a[1 + threadIdx.x] : 0;  // fault
        for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(~0u, v, o);
        if (threadIdx.x == 0) a[0] = v;
    }
}
