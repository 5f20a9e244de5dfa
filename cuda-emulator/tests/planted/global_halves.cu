// Blocks write bf16 numbers that lie in one 4-byte word. Their own halves are sound, the same half is not.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    unsigned short* x = (unsigned short*)a;
#ifdef BUG
    x[blockIdx.x / 2] = (unsigned short)blockIdx.x;  // fault
#else
    x[blockIdx.x] = (unsigned short)blockIdx.x;
#endif
}
