// Nobody waits for the bulk copy.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    if (threadIdx.x == 0) {
        expect(t, 2048);
        bulk(t, t.a, b, 2048);
    }
#ifndef BUG
    wait(t, 0);
#endif
    a[threadIdx.x] = t.a[threadIdx.x];  // fault
#ifdef BUG
    wait(t, 0);
#endif
}
