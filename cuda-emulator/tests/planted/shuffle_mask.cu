// The mask does not name the lanes that execute the shuffle.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    float v = b[threadIdx.x];
#ifdef BUG
    unsigned mask = 0xffff;
#else
    unsigned mask = ~0u;
#endif
    a[threadIdx.x] = v + __shfl_xor_sync(mask, v, 1);  // fault
}
