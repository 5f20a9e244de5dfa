// One element too many is written.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    int i = blockIdx.x * 128 + threadIdx.x;
#ifdef BUG
    if (i > n) return;
#else
    if (i >= n) return;
#endif
    a[i] = b[0];  // fault
}
