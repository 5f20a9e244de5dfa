// The sums are read before they are waited for.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    fill(t, b);
    float d[4] = {};
    ready();
    multiply(t, d);
    commit();
#ifdef BUG
    a[threadIdx.x] = d[0] + 1;
    done();
#else
    done();
    a[threadIdx.x] = d[0] + 1;
#endif
}
