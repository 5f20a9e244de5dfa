// All lanes of a warp write different numbers to one place in one instruction.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    if (threadIdx.x >= 32) return;
#ifdef BUG
    a[blockIdx.x] = b[threadIdx.x];  // fault
#else
    a[blockIdx.x] = b[0];
#endif
}
