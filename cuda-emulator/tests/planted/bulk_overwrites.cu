// The next bulk copy goes to a tile that a wgmma still reads.
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
    if (threadIdx.x == 0) {
        expect(t, 2048);
        bulk(t, t.a, b + 256, 2048);  // fault
    }
    done();
    wait(t, 1);
    show(a, d);
}
