// From logits to their cotangents, with p_j = e^(z_j / temperature - lse):
//   head_dz: dz = (dlogp (e_y - p) - dentropy p (log p + H)) / temperature
//   head_u:  u = weight p (z_dot / temperature - mean) / temperature, mean = <p, z_dot> / (temperature sum p)
// Shapes: z, z_dot (rows, v), rows ld apart, ld a multiple of 8; lse, targets, dlogp, dentropy, entropy, weight (rows).  Any v.
// f32: they replace z.  bf16: they are high + low, two matrices of bf16 with rows ld apart: 16 bits of mantissa, because what is far larger than
// the gradient, a target's dz, is in the same sum.
// Grid: head_dz (ceil(v / 4096), rows) blocks of 128 threads, eight quads a thread; head_u a block of 512 threads a row.
// Bytes a logit: head_dz 4 read, 4 written: the ideal.  head_u 8 read for the mean, 8 again for u, 4 written.
// Deterministic: one order of the sums, which depends on v only.
#include "head.cuh"

// Quads of a thread of head_dz: so many that the numbers of the row, which every warp reads, are little beside them.
constexpr int QUADS = 8;

// Four cotangents to where they go.
__device__ __forceinline__ void put(float* high, float*, u32 q, u32 v, const Quad& x) { store_quad(high, q, v, true, x); }
__device__ __forceinline__ void put(bf16* high, bf16* low, u32 q, u32 v, const Quad& x) {
    Vec<bf16, 4> h, l;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        h.x[i] = from_float<bf16>(x.x[i]);
        l.x[i] = from_float<bf16>(x.x[i] - to_float(h.x[i]));
    }
    store_quad(high, q, v, true, h);
    store_quad(low, q, v, true, l);
}

template <typename T>
__device__ __forceinline__ void dz(T* high, T* low, const float* z, const u32* targets, const float* lse, const float* dlogp,
                                   const float* dentropy, const float* entropy, u32 v, u32 ld, float inverse) {
    const u32 i = blockIdx.y;
    const u64 at = u64(i) * ld;
    const float* row = z + at;
    const float slope = dlogp[i], entropy_slope = dentropy[i], h = entropy[i], minus_lse = -lse[i];
    const u32 y = targets[i];
    // Neighbouring threads have neighbouring quads, so that a warp's access is whole sectors.
    const u32 first = blockIdx.x * QUADS * blockDim.x + threadIdx.x, step = blockDim.x;
    Quad x[QUADS];
#pragma unroll
    for (int a = 0; a < QUADS; a++) x[a] = load_quad(row, first + a * step, v, true, NEG_INFINITY);
#pragma unroll
    for (int a = 0; a < QUADS; a++) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float log_p = fmaf(x[a].x[k], inverse, minus_lse), p = expf(log_p);
            // A token that cannot be drawn has no gradient; its log p may be -infinity.
            float d = p == 0.f ? 0.f : -p * fmaf(entropy_slope, log_p + h, slope);
            if (4 * (first + a * step) + k == y) d += slope;
            x[a].x[k] = d * inverse;
        }
        put(high + at, low + at, first + a * step, v, x[a]);
    }
}

template <typename T>
__device__ __forceinline__ void u(T* high, T* low, const float* z, const float* z_dot, const float* lse, const float* weight, u32 v,
                                  u32 ld, float inverse) {
    __shared__ double shared[64];
    const u32 i = blockIdx.x;
    const u64 at = u64(i) * ld;
    const float* const rows[2] = {z + at, z_dot + at};
    const float minus_lse = -lse[i], factor = weight[i] * inverse;
    float sum = 0.f, mass = 0.f;
    for_quads<2, 2>(rows, v, 0.f, [&](const Quad(&x)[2], u32 q) {
        float p[4], d[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            p[k] = 4 * q + k < v ? expf(fmaf(x[0].x[k], inverse, minus_lse)) : 0.f;
            d[k] = p[k] * (x[1].x[k] * inverse);
        }
        mass += (p[0] + p[1]) + (p[2] + p[3]);
        sum += (d[0] + d[1]) + (d[2] + d[3]);
    });
    double both[2] = {sum, mass};
    block_sums(both, shared);
    // Divided by sum p, so that the rounding of a saved lse does not show as a mean.
    const float mean = float(both[0] / both[1]);
    for_quads<2, 2>(rows, v, 0.f, [&](const Quad(&x)[2], u32 q) {
        Quad y;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float p = expf(fmaf(x[0].x[k], inverse, minus_lse));
            y.x[k] = p * fmaf(x[1].x[k], inverse, -mean) * factor;
        }
        put(high + at, low + at, q, v, y);
    });
}

#define KERNELS(T, S)                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(128)                                                                                   \
        head_dz_##S(T* high, T* low, const float* z, const u32* targets, const float* lse, const float* dlogp, const float* dentropy,        \
                    const float* entropy, u32 v, u32 ld, float inverse) {                                                                \
        dz(high, low, z, targets, lse, dlogp, dentropy, entropy, v, ld, inverse);                                                        \
    }                                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(512, 2)                                                                                \
        head_u_##S(T* high, T* low, const float* z, const float* z_dot, const float* lse, const float* weight, u32 v, u32 ld,            \
                   float inverse) {                                                                                                      \
        u(high, low, z, z_dot, lse, weight, v, ld, inverse);                                                                             \
    }
FOR_BOTH(KERNELS)
