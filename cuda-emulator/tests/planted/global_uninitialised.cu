// The output is added to before anyone has written it.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    a[threadIdx.x] += b[threadIdx.x];  // fault
#else
    a[threadIdx.x] = b[threadIdx.x];
    a[threadIdx.x] += b[threadIdx.x + 1];
#endif
}
