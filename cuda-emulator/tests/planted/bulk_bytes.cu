// More bytes are announced than come.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    if (threadIdx.x == 0) {
#ifdef BUG
        expect(t, 2304);
#else
        expect(t, 2048);
#endif
        bulk(t, t.a, b, 2048);
    }
    wait(t, 0);
    a[threadIdx.x] = t.a[threadIdx.x];
}
