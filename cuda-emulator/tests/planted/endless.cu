// A loop that does not end.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    unsigned x = threadIdx.x;
#ifdef BUG
    while (*(volatile unsigned*)c == 0) x += 3;  // fault
#else
    while (*(volatile unsigned*)c != 0) x += 3;
#endif
    a[threadIdx.x] = x;
}
