// A tile is written while a wgmma reads it.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    fill(t, b);
    float d[4] = {};
    ready();
    multiply(t, d);
    commit();
#ifndef BUG
    done();
    __syncthreads();
#endif
    t.a[threadIdx.x] = 0;  // fault
    done();
    show(a, d);
}
