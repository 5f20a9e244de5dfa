// The exact KL divergence between two rows of logits / temperature: with p the softmax of the old ones and d = new - old
//   KL = sum_j p_j (log p_j - log q_j) = log <p, e^d> - <p, d> = log(1 + <p, e^x - 1 - x>), x = d - <p, d>
// a mean of numbers none of which is negative, so that nothing cancels where the two are close.
// Shapes: old, fresh (rows, v), rows ld apart; kl (rows).  Any v.
// Grid: a block of 512 threads a row.  Bytes a logit: 8 for the means, 8 again for what differs from them.
// Deterministic: one order of the sums, which depends on v only; f32 in a thread, f64 over the block.
#include "head.cuh"

// Softmax statistics of z with the mean of a number beside it.
struct Beside {
    float m, sum, moment;
    __device__ __forceinline__ Beside() : m(LOWEST), sum(0.f), moment(0.f) {}

    __device__ __forceinline__ void add(const Quad& z, const Quad& y) {
        const float most = fmaxf(fmaxf(z.x[0], z.x[1]), fmaxf(z.x[2], z.x[3]));
        if (most > m) {
            const float factor = expf(m - most);
            moment *= factor;
            sum *= factor;
            m = most;
        }
        float p[4], d[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            p[i] = expf(z.x[i] - m);
            d[i] = p[i] * y.x[i];
        }
        sum += (p[0] + p[1]) + (p[2] + p[3]);
        moment += (d[0] + d[1]) + (d[2] + d[3]);
    }
};

// p (e^x - 1 - x) with p = e^log_p. x = near + far with |near| <= 1/2: near by its series, far with p inside the exponential,
// where it does not overflow before the result does.
__device__ __forceinline__ float excess(float log_p, float x) {
    const float near = fminf(0.5f, fmaxf(-0.5f, x)), far = x - near, p = expf(log_p);
    float s = 1.f / 40320.f;
    s = fmaf(s, near, 1.f / 5040.f);
    s = fmaf(s, near, 1.f / 720.f);
    s = fmaf(s, near, 1.f / 120.f);
    s = fmaf(s, near, 1.f / 24.f);
    s = fmaf(s, near, 1.f / 6.f);
    s = fmaf(s, near, 0.5f);
    s *= near * near;
    if (far == 0.f) return p * s;
    return fmaf(p, s - far, expf(log_p + x) - expf(log_p + near));
}

extern "C" __global__ void __launch_bounds__(512, 2)
    head_kl(float* kl, const float* old, const float* fresh, u32 v, u32 ld, float inverse) {
    __shared__ double shared[128];
    const u32 i = blockIdx.x;
    const u64 at = u64(i) * ld;
    const float* const rows[2] = {old + at, fresh + at};
    Beside p;
    Online q;
    for_quads<2, 2>(rows, v, NEG_INFINITY, [&](Quad(&x)[2], u32 at) {
        Quad d;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            x[0].x[k] *= inverse;
            // Past the end there is no difference.
            d.x[k] = 4 * at + k < v ? fmaf(x[1].x[k], inverse, -x[0].x[k]) : 0.f;
            x[1].x[k] *= inverse;
        }
        p.add(x[0], d);
        q.add(x[1]);
    });
    const float m = block_max(p.m, reinterpret_cast<float*>(shared)), new_m = block_max(q.m, reinterpret_cast<float*>(shared));
    const double factor = expf(p.m - m), new_factor = expf(q.m - new_m);
    double sums[3] = {factor * p.sum, factor * p.moment, new_factor * q.sum};
    block_sums(sums, shared);
    const double lse = m + log(sums[0]), mean = sums[1] / sums[0], new_lse = new_m + log(sums[2]);
    const float minus_lse = float(-lse), minus_mean = float(-mean);
    float sum = 0.f;
    for_quads<2, 2>(rows, v, NEG_INFINITY, [&](const Quad(&x)[2], u32 at) {
        float y[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float d = x[1].x[k] * inverse - x[0].x[k] * inverse;
            y[k] = 4 * at + k < v ? excess(fmaf(x[0].x[k], inverse, minus_lse), d + minus_mean) : 0.f;
        }
        sum += (y[0] + y[1]) + (y[2] + y[3]);
    });
    double total[1] = {sum};
    block_sums(total, shared);
    // Policies that are far apart: the mean overflows before its logarithm does, and there is nothing to cancel.
    if (threadIdx.x == 0) kl[i] = float(total[0] < 1. ? log1p(total[0]) : new_lse - lse - mean);
}
