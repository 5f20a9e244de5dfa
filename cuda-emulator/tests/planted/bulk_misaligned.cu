// A bulk copy from an address that is no multiple of 16.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    if (threadIdx.x == 0) {
        expect(t, 1024);
#ifdef BUG
        bulk(t, t.a, b + 1, 1024);  // fault
#else
        bulk(t, t.a, b + 4, 1024);
#endif
    }
    wait(t, 0);
    a[threadIdx.x] = t.a[threadIdx.x];
}
