// Instructions of sm_90a for the planted bugs, and the tiles they share: A of 64 x 16 and B of 8 x 16 numbers of bf16, K-major, no swizzling.
#pragma once
struct Tiles {
    alignas(128) unsigned a[512], b[64];
    alignas(8) unsigned long long bar;
};
__device__ __forceinline__ unsigned at(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void make(Tiles& t) {
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at(&t.bar)) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
}
__device__ __forceinline__ void expect(Tiles& t, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at(&t.bar)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void bulk(Tiles& t, void* to, const void* from, unsigned bytes) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(at(to)), "l"(from), "r"(bytes),
                 "r"(at(&t.bar))
                 : "memory");
}
__device__ __forceinline__ void wait(Tiles& t, unsigned parity) {
    asm volatile("{ .reg .pred p; L: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @!p bra L; }" ::"r"(at(&t.bar)), "r"(parity) : "memory");
}
// Both tiles by bulk copies; everyone waits.
__device__ __forceinline__ void fill(Tiles& t, const float* b) {
    if (threadIdx.x == 0) {
        expect(t, 2304);
        bulk(t, t.a, b, 2048);
        bulk(t, t.b, b + 512, 256);
    }
    wait(t, 0);
}
__device__ __forceinline__ void ready() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void done() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
__device__ __forceinline__ void multiply(Tiles& t, float (&d)[4]) {
    const unsigned long long strides = 128ull / 16 << 16 | 256ull / 16 << 32;
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "l"(at(t.a) / 16 | strides), "l"(at(t.b) / 16 | strides));
}
__device__ __forceinline__ void show(float* a, const float (&d)[4]) {
    for (int i = 0; i < 4; ++i) a[threadIdx.x * 4 + i] = d[i];
}
