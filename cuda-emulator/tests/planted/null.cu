// A pointer that was never set.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    const float* from = n > 0 ? nullptr : b;
#else
    const float* from = n > 0 ? b : nullptr;
#endif
    asm volatile("" : "+l"(from));  // so that the compiler does not see it
    a[threadIdx.x] = from[threadIdx.x];  // fault
}
