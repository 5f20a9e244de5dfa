// What the head's kernels share: how a block goes through a row of logits, and a softmax in one pass.
#pragma once
#include "sums.cuh"

typedef Vec<float, 4> Quad;

// The row lies at a multiple of 16 bytes.
__device__ __forceinline__ bool is_wide(const float* row) { return reinterpret_cast<u64>(row) % 16 == 0; }

// Columns 4 q .. 4 q + 3 of a row of n, `fill` past its end; 16 bytes at once where the row is wide.
__device__ __forceinline__ Quad load_quad(const float* row, u32 q, u32 n, bool wide, float fill) {
    const u32 j = 4 * q;
    if (wide && j + 4 <= n) return *reinterpret_cast<const Quad*>(row + j);
    Quad x;
#pragma unroll
    for (int i = 0; i < 4; i++) x.x[i] = j + i < n ? row[j + i] : fill;
    return x;
}
// The same to memory; nothing past the end.
template <typename T> __device__ __forceinline__ void store_quad(T* row, u32 q, u32 n, bool wide, const Vec<T, 4>& x) {
    const u32 j = 4 * q;
    if (wide && j + 4 <= n) {
        *reinterpret_cast<Vec<T, 4>*>(row + j) = x;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (j + i < n) row[j + i] = x.x[i];
}

// Calls each(quads of the R rows) for every quad of this thread: quads t, t + threads, t + 2 threads ... in this order wherever
// the rows lie, so that what is summed depends on the logits only. AHEAD quads a row are asked for before the first is used.
template <int R, int AHEAD, typename F>
__device__ __forceinline__ void for_quads(const float* const (&rows)[R], u32 n, float fill, F each) {
    bool wide = true;
#pragma unroll
    for (int r = 0; r < R; r++) wide = wide && is_wide(rows[r]);
    const u32 quads = (n + 3) / 4, step = blockDim.x;
    u32 q = threadIdx.x;
    if (wide) {
        for (; u64(q) + (AHEAD - 1) * step < n / 4; q += AHEAD * step) {
            Quad x[AHEAD][R];
#pragma unroll
            for (int a = 0; a < AHEAD; a++)
#pragma unroll
                for (int r = 0; r < R; r++) x[a][r] = *reinterpret_cast<const Quad*>(rows[r] + 4 * (q + a * step));
#pragma unroll
            for (int a = 0; a < AHEAD; a++) each(x[a], q + a * step);
        }
    }
    for (; q < quads; q += step) {
        Quad x[R];
#pragma unroll
        for (int r = 0; r < R; r++) x[r] = load_quad(rows[r], q, n, wide, fill);
        each(x, q);
    }
}

// Below every logit that counts; unlike -infinity it can be subtracted from itself.
#define LOWEST -1e30f

// A softmax in one pass: m the largest z so far, sum of e^(z - m), moment of e^(z - m) (z - m).
struct Online {
    float m, sum, moment;
    __device__ __forceinline__ Online() : m(LOWEST), sum(0.f), moment(0.f) {}

    __device__ __forceinline__ void add(const Quad& z) {
        raise(fmaxf(fmaxf(z.x[0], z.x[1]), fmaxf(z.x[2], z.x[3])));
        float p[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float down = z.x[i] - m;
            p[i] = expf(down);
            // A logit of -infinity counts nothing, not 0 times infinity.
            y[i] = p[i] * fmaxf(down, LOWEST);
        }
        sum += (p[0] + p[1]) + (p[2] + p[3]);
        moment += (y[0] + y[1]) + (y[2] + y[3]);
    }
    __device__ __forceinline__ void raise(float most) {
        if (most > m) {
            const float down = m - most, factor = expf(down);
            moment = factor * (moment + down * sum);
            sum *= factor;
            m = most;
        }
    }
    // The same of the whole block.
    __device__ __forceinline__ void over_block(double& total, double& total_moment, double* shared) {
        const float most = block_max(m, reinterpret_cast<float*>(shared));
        const double down = double(m) - double(most), factor = expf(m - most);
        double x[2] = {factor * sum, factor * (moment + down * sum)};
        block_sums(x, shared);
        m = most;
        total = x[0];
        total_moment = x[1];
    }
};
