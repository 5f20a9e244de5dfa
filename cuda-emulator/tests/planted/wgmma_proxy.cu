// The tiles are filled by st.shared, and wgmma reads them with no fence between the proxies.
#include "hopper.h"
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ Tiles t;
    make(t);
    for (int i = threadIdx.x; i < 512; i += 128) t.a[i] = i;
    if (threadIdx.x < 64) t.b[threadIdx.x] = threadIdx.x;
#ifndef BUG
    asm volatile("fence.proxy.async;" ::: "memory");
#endif
    __syncthreads();
    float d[4] = {};
    ready();
    multiply(t, d);  // fault
    commit();
    done();
    show(a, d);
}
