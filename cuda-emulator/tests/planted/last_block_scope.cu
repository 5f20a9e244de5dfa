// As last_block, where all threads wrote; the fence reaches the block only.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ bool last;
    a[1 + blockIdx.x * 128 + threadIdx.x] = b[threadIdx.x];
#ifdef BUG
    __threadfence_block();
#else
    __threadfence();
#endif
    __syncthreads();
    if (threadIdx.x == 0) last = atomicInc(c, gridDim.x - 1) == gridDim.x - 1;
    __syncthreads();
    if (last) {
        float v = 0;
        for (int i = 0; i < gridDim.x; ++i) v += a[1 + i * 128 + threadIdx.x];  // fault
        __syncthreads();
        if (threadIdx.x == 0) a[0] = v;
    }
}
