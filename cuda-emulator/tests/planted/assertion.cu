// An assert that fails.
#include <cassert>
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    assert(b[threadIdx.x] < 100);  // fault
#else
    assert(b[threadIdx.x] < 200);
#endif
    a[threadIdx.x] = 1;
}
