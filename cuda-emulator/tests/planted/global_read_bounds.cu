// The guard of the last elements is missing.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    int i = blockIdx.x * 128 + threadIdx.x;
#ifndef BUG
    if (i >= n) return;
#endif
    a[i] = b[i];  // fault
}
