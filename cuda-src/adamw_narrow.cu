// AdamW on parameters and moments of T, each stored by stochastic rounding (Gupta et al. 2015, arXiv 1502.02551): no f32 copy of any of them.
//   g = grad_scale grad; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = rate m / (root sqrt(v) + eps) + keep p, constants as in vector.cu;
//   no fused products, so that the bits are the CPU's
//   x is stored as the upper half of bits(x) + r, r sixteen bits of kernel::rounding::Dither: up as often as x is on its way up
// Shapes: n numbers, any n; aligned to 16 bytes.  Grid: blocks of 256 threads, 8 numbers a thread: what one counter has bits for.
// Bytes a number: 6 sizeof T + 4, which is the ideal: each is touched once.  Moved: 1.25 times that in bf16, since a thread's eight gradients
// are two loads of 16 bytes whose neighbours' lie 32 apart.  Deterministic: no sums.
#include "philox.cuh"

struct Constants {
    float grad_scale, keep, b1, c1, b2, c2, rate, root, eps;
};
// The words of the counters but for the block; streams `stream` to `stream` + 2 are those of p, m and v.
struct Dither {
    u32 key_low, key_high, stream, step_low, step_high;
};

__device__ __forceinline__ void store(float& y, float x, u32) { y = x; }
__device__ __forceinline__ void store(bf16& y, float x, u32 random) {
    const u32 bits = __float_as_uint(x);
    // NaN is made quiet: its payload could carry into the sign.
    y = __ushort_as_bfloat16(static_cast<unsigned short>((x == x ? bits + random : bits | 0x400000u) >> 16));
}

template <typename T>
__device__ __forceinline__ void one(T& p, T& m, T& v, float grad, const Constants& k, const u32 (&random)[3]) {
    const float g = __fmul_rn(k.grad_scale, grad);
    const float m1 = __fadd_rn(__fmul_rn(k.b1, to_float(m)), __fmul_rn(k.c1, g));
    const float v1 = __fadd_rn(__fmul_rn(k.b2, to_float(v)), __fmul_rn(k.c2, __fmul_rn(g, g)));
    const float step = __fdiv_rn(m1, __fadd_rn(__fmul_rn(__fsqrt_rn(v1), k.root), k.eps));
    store(p, __fadd_rn(__fmul_rn(k.rate, step), __fmul_rn(k.keep, to_float(p))), random[0]);
    store(m, m1, random[1]);
    store(v, v1, random[2]);
}

template <typename T>
__device__ __forceinline__ void adamw_narrow(T* p, T* m, T* v, const float* grad, u32 n, const Constants& k, const Dither& d) {
    const u32 block = blockIdx.x * blockDim.x + threadIdx.x;
    const u64 i = u64(block) * 8;
    if (i >= n) return;
    u32 words[3][4];
#pragma unroll
    for (int w = 0; w < 3; w++) {
        words[w][0] = block, words[w][1] = d.stream + w, words[w][2] = d.step_low, words[w][3] = d.step_high;
        philox(words[w], d.key_low, d.key_high);
    }
    if (i + 8 <= n) {
        Vec<T, 8> p1 = *reinterpret_cast<const Vec<T, 8>*>(p + i), m1 = *reinterpret_cast<const Vec<T, 8>*>(m + i);
        Vec<T, 8> v1 = *reinterpret_cast<const Vec<T, 8>*>(v + i);
        const Vec<float, 8> g = *reinterpret_cast<const Vec<float, 8>*>(grad + i);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const int shift = 16 * (j % 2);
            const u32 random[3] = {words[0][j / 2] >> shift & 0xffff, words[1][j / 2] >> shift & 0xffff, words[2][j / 2] >> shift & 0xffff};
            one(p1.x[j], m1.x[j], v1.x[j], g.x[j], k, random);
        }
        *reinterpret_cast<Vec<T, 8>*>(p + i) = p1;
        *reinterpret_cast<Vec<T, 8>*>(m + i) = m1;
        *reinterpret_cast<Vec<T, 8>*>(v + i) = v1;
    } else {
#pragma unroll
        for (int j = 0; j < 7; j++) {
            if (i + j < n) {
                const int shift = 16 * (j % 2);
                const u32 random[3] = {words[0][j / 2] >> shift & 0xffff, words[1][j / 2] >> shift & 0xffff, words[2][j / 2] >> shift & 0xffff};
                one(p[i + j], m[i + j], v[i + j], grad[i + j], k, random);
            }
        }
    }
}

#define KERNELS(T, S)                                                                                                                  \
    extern "C" __global__ void adamw_narrow_##S(T* p, T* m, T* v, const float* grad, u32 n, float grad_scale, float keep, float b1, \
                                                float c1, float b2, float c2, float rate, float root, float eps, u32 key_low,     \
                                                u32 key_high, u32 stream, u32 step_low, u32 step_high) {                          \
        const Constants k = {grad_scale, keep, b1, c1, b2, c2, rate, root, eps};                                                  \
        adamw_narrow(p, m, v, grad, n, k, {key_low, key_high, stream, step_low, step_high});                                      \
    }
FOR_BOTH(KERNELS)
