// row * stride does not fit in 32 bits.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    int row = n;
#ifdef BUG
    int at = row * (1 << 20);
#else
    long at = (row * (1l << 20)) % 1024;
#endif
    a[threadIdx.x] = b[at + threadIdx.x];  // fault
}
