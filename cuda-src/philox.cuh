// The counter-based generator of kernel::random: Philox4x32-10. `c` is the counter, then the four random words.
#pragma once
#include "common.cuh"

__device__ __forceinline__ void philox(u32 (&c)[4], u32 k0, u32 k1) {
#pragma unroll
    for (int i = 0; i < 10; i++) {
        const u64 p0 = u64(0xD2511F53u) * c[0], p1 = u64(0xCD9E8D57u) * c[2];
        c[0] = u32(p1 >> 32) ^ c[1] ^ k0;
        c[1] = u32(p1);
        c[2] = u32(p0 >> 32) ^ c[3] ^ k1;
        c[3] = u32(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
