// An index beyond an array that lives in local memory.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    float kept[16];
    for (int i = 0; i < 16; ++i) kept[i] = b[i];
#ifdef BUG
    int at = n + threadIdx.x % 8;
#else
    int at = n % 8 + threadIdx.x % 8;
#endif
    kept[at] = 1;  // fault
    float sum = 0;
    for (int i = 0; i < 16; ++i) sum += kept[(i + at) & 15];
    a[threadIdx.x] = sum;
}
