// Blocks count together, by atomics that are so for their own block only.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    if (threadIdx.x == 0) {
#ifdef BUG
        atomicAdd_block(c, 1u);  // fault
#else
        atomicAdd(c, 1u);
#endif
        a[blockIdx.x] = b[blockIdx.x];
    }
}
