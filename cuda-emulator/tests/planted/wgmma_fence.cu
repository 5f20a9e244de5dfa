// The sums were computed with since the last wgmma.fence.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    fill(t, b);
    float d[4] = {b[threadIdx.x], 1, 2, 3};
    ready();
    for (float& x : d) x = x * b[1] + b[2];
#ifndef BUG
    ready();
#endif
    multiply(t, d);
    commit();
    done();
    show(a, d);
}
