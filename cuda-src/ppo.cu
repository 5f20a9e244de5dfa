// Terms of proximal policy optimisation (kernel::objective::ppo) on n tokens, with their gradients and statistics in one pass; means over `tokens`.
//   ppo_policy: loss = -sum min(w A, clip(w) A), w = exp(logp - old)          sums: loss, (logp - old)^2 / 2, clipped, w
//   ppo_value:  loss = sum max((V - R)^2, (clip(V) - R)^2) / 2                 sums: loss, clipped; dvalue times vf_coef
// Shapes: per token f32, mask in bytes; old may be null.  outcomes (blocks, 4) f64: the sums of each block, for the host to add in order.
// Grid: ceil(n / 1024) blocks of 256 threads, 4 tokens a thread.  Bytes a token: 17 and 4 written for each given: 21 with all.
// All arithmetic is f64, as the kernel crate's.  Deterministic: one order of each sum.
#include "sums.cuh"
#include "surrogate.cuh"

constexpr int PER_BLOCK = 1024;

__device__ __forceinline__ void put(double* outcomes, const double (&sums)[4]) {
    if (threadIdx.x != 0) return;
#pragma unroll
    for (int i = 0; i < 4; i++) outcomes[u64(blockIdx.x) * 4 + i] = sums[i];
}

extern "C" __global__ void __launch_bounds__(256)
    ppo_policy(float* dlogp, double* outcomes, const float* logp, const float* old, const float* advantage, const unsigned char* mask, u32 n,
               double cliprange, double tokens) {
    __shared__ double shared[4 * 32];
    double sums[4] = {0., 0., 0., 0.};
#pragma unroll
    for (int i = 0; i < PER_BLOCK / 256; i++) {
        const u64 t = u64(blockIdx.x) * PER_BLOCK + i * 256 + threadIdx.x;
        if (t >= n) break;
        float d = 0.f;
        if (mask[t]) {
            const double ell = log_ratio(logp, old, t), a = advantage[t];
            const Slope w = ratio_of(ell), gain = clipped(w, a, cliprange, cliprange);
            d = float(-gain.d / tokens);
            sums[0] -= gain.v / tokens;
            sums[1] += 0.5 * ell * ell / tokens;
            sums[2] += (gain.v < w.v * a ? 1. : 0.) / tokens;
            sums[3] += w.v / tokens;
        }
        dlogp[t] = d;
    }
    block_sums(sums, shared);
    put(outcomes, sums);
}

extern "C" __global__ void __launch_bounds__(256)
    ppo_value(float* dvalue, double* outcomes, const float* value, const float* old, const float* returns, const unsigned char* mask, u32 n,
              double cliprange_value, double vf_coef, double tokens) {
    __shared__ double shared[4 * 32];
    double sums[4] = {0., 0., 0., 0.};
#pragma unroll
    for (int i = 0; i < PER_BLOCK / 256; i++) {
        const u64 t = u64(blockIdx.x) * PER_BLOCK + i * 256 + threadIdx.x;
        if (t >= n) break;
        float d = 0.f;
        if (mask[t]) {
            const double v = value[t], r = returns[t], at = old ? double(old[t]) : v;
            const Slope now = {v, 1.}, near = now.clamp(at - cliprange_value, at + cliprange_value);
            // Negated, so that the larger loss is the minimum.
            const Slope free = {-0.5 * (v - r) * (v - r), -(v - r)};
            const Slope held = {-0.5 * (near.v - r) * (near.v - r), -(near.v - r) * near.d};
            const Slope gain = free.least(held);
            d = float(-vf_coef * gain.d / tokens);
            sums[0] -= gain.v / tokens;
            sums[1] += (held.v < free.v ? 1. : 0.) / tokens;
        }
        dvalue[t] = d;
    }
    block_sums(sums, shared);
    put(outcomes, sums);
}
