// What the head says of a row of logits z / temperature with target y, in one read:
//   lse = log sum_j e^z_j    logp = z_y - lse    entropy = -sum_j p_j log p_j = log S - T / S    best = max_j z_j - lse = -log S
//   with m = max_j z_j, S = sum_j e^(z_j - m), T = sum_j e^(z_j - m) (z_j - m)
// Shapes: z (rows, v), rows ld apart, before the temperature; targets and the four outputs (rows).  Any v.
// Grid: a block of 512 threads a row.  Each thread keeps m, S, T of its columns in f32, the block adds them up in f64.
// Bytes: 4 v + 20 a row, which is the ideal.
// Deterministic; the order of the sums depends on v only, so logits that are there already give the bits that the head's own give.
#include "head.cuh"

extern "C" __global__ void __launch_bounds__(512, 2)
    head_scores(float* logp, float* entropy, float* lse, float* best, const float* z, const u32* targets, u32 v, u32 ld, float inverse) {
    __shared__ double shared[64];
    const u32 i = blockIdx.x;
    const float* row = z + u64(i) * ld;
    Online all;
    const float* const rows[1] = {row};
    for_quads<1, 4>(rows, v, NEG_INFINITY, [&](Quad(&x)[1], u32) {
#pragma unroll
        for (int k = 0; k < 4; k++) x[0].x[k] *= inverse;
        all.add(x[0]);
    });
    double sum, moment;
    all.over_block(sum, moment, shared);
    if (threadIdx.x == 0) {
        const float chosen = row[targets[i]] * inverse;
        const double m = all.m, log_sum = log(sum);
        logp[i] = float(chosen - m - log_sum);
        entropy[i] = float(log_sum - moment / sum);
        lse[i] = float(m + log_sum);
        best[i] = float(-log_sum);
    }
}
