// A counter that other blocks change by atomics is read by a plain load.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    if (threadIdx.x == 0) {
        atomicAdd(c, 1u);  // fault
#ifdef BUG
        a[blockIdx.x] = (float)c[0];  // fault
#else
        a[blockIdx.x] = (float)atomicAdd(c, 0u);
#endif
    }
}
