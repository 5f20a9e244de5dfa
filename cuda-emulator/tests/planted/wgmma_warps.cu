// One of the four warps does not take part.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    fill(t, b);
    float d[4] = {};
#ifdef BUG
    if (threadIdx.x < 96)
#endif
    {
        ready();
        multiply(t, d);
        commit();
        done();
    }
    show(a, d);
}
