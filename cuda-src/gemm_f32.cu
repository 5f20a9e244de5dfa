// Products of f32 matrices by fused multiply-adds: c (m, n) (+)= op(a) (m, k) op(b) (k, n) + bias. True f32, no tensor cores.
//   gemm_nt: a (m, k), b (n, k)      gemm_nn: a (m, k), b (k, n)      gemm_tn: a (k, m), b (k, n)
//   `_any`: rows that do not begin at multiples of 16 bytes, number by number.  c (m, n), rows ldc apart; bias (n) or null.
// parts > 1: block (x, p) sums part p of k into c = partial sums (parts, m, ldc) without bias; finish in gemm_parts.cu adds them in order.
// Grid: (ceil(m / 128) ceil(n / 128), parts) blocks of 8 warps, 8 x 8 sums a thread. Both factors lie k by k in shared memory, 16 k at a
// time, twice: the next tile is on its way to registers while this one is multiplied.
// Bytes: a is read ceil(n / 128) times and b ceil(m / 128) times, but for the first time from L2; c written once (and read where added to).
// Deterministic: k goes upward one by one in one accumulator; parts are fixed by the shape.
#include "gemm.cuh"

constexpr int BM = 128, BN = 128, BK = 16, THREADS = 256;
// Floats from one k to the next in shared memory: four k further is 16 banks further, and the stores below do not meet.
constexpr int PITCH = 132;

enum Along { ALONG_K, ALONG_M };

// Brings one factor's 128 x 16 tiles to registers, then to shared memory: 2 chunks of 4 numbers a thread.
template <Along ALONG, bool WIDE> struct Loader {
    Vec<float, 4> v[2];
    const float* from;
    u32 stride;
    u32 outer;   // rows below the first chunk's, of the matrix as it lies in memory; at a tile's first k
    u32 inner;   // numbers to the right of the first chunk's start

    __device__ __forceinline__ u32 row() const { return ALONG == ALONG_K ? threadIdx.x / 2 : threadIdx.x / 32; }
    __device__ __forceinline__ u32 chunk() const { return ALONG == ALONG_K ? threadIdx.x % 2 : threadIdx.x % 32; }

    // Tile rows from `m0` on of a factor with `m` of them, and from k0 on of k.
    __device__ __forceinline__ Loader(const float* p, u32 ld, u32 m0, u32 m, u32 k0, u32 k) {
        stride = ld;
        const u32 y = (ALONG == ALONG_K ? m0 : k0) + row(), x = (ALONG == ALONG_K ? k0 : m0) + chunk() * 4;
        const u32 rows = ALONG == ALONG_K ? m : k, cols = ALONG == ALONG_K ? k : m;
        from = p + u64(y) * ld + x;
        outer = rows > y ? rows - y : 0;
        inner = cols > x ? cols - x : 0;
    }

    // Loads the tile, and goes on to the next k.
    __device__ __forceinline__ void load() {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float* p = ALONG == ALONG_K ? from + i * 8 : from + u64(i * 8) * stride;
            const u32 left = ALONG == ALONG_K ? (inner > i * 8 ? inner - i * 8 : 0) : inner;
            const u32 count = (ALONG == ALONG_K ? 0 : i * 8) < outer ? left : 0;
            if (WIDE && count >= 4) {
                v[i] = *reinterpret_cast<const Vec<float, 4>*>(p);
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++) v[i].x[j] = j < count ? p[j] : 0.f;
            }
        }
        if (ALONG == ALONG_K) {
            from += BK;
            inner = inner > BK ? inner - BK : 0;
        } else {
            from += u64(BK) * stride;
            outer = outer > BK ? outer - BK : 0;
        }
    }

    __device__ __forceinline__ void put(float (*tile)[PITCH]) const {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (ALONG == ALONG_K) {
#pragma unroll
                for (int j = 0; j < 4; j++) tile[(chunk() + 2 * i) * 4 + j][row()] = v[i].x[j];
            } else {
                *reinterpret_cast<Vec<float, 4>*>(&tile[row() + i * 8][chunk() * 4]) = v[i];
            }
        }
    }
};

template <Along A, Along B, bool WIDE>
__device__ __forceinline__ void gemm(float* c, const float* a, const float* b, const float* bias, u32 m, u32 n, u32 k, u32 lda, u32 ldb, u32 ldc, u32 add) {
    __shared__ __align__(16) float left[2][BK][PITCH], right[2][BK][PITCH];
    const Tile t = tile<BM, BN>(blockIdx.x, m, n);
    const Range steps = part((k + BK - 1) / BK, blockIdx.y, gridDim.y);
    Loader<A, WIDE> load_a(a, lda, t.row, m, steps.from * BK, k);
    Loader<B, WIDE> load_b(b, ldb, t.col, n, steps.from * BK, k);

    // A warp has 32 x 64 of the tile, a thread 4 rows and 4 columns of each quarter of that.
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 row = warp / 2 * 32 + lane / 8 * 4, col = warp % 2 * 64 + lane % 8 * 4;
    // A warp whose part lies outside of c only copies.
    const bool inside = t.row + warp / 2 * 32 < m && t.col + warp % 2 * 64 < n;
    float sum[8][8];
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sum[i][j] = 0.f;

    if (steps.from < steps.to) {
        load_a.load();
        load_b.load();
    }
    for (u32 step = steps.from; step < steps.to; step++) {
        const u32 now = step % 2;
        load_a.put(left[now]);
        load_b.put(right[now]);
        // The tile is there for all. The other one, which the next step overwrites, was read before the last barrier.
        __syncthreads();
        if (step + 1 < steps.to) {
            load_a.load();
            load_b.load();
        }
        if (!inside) continue;
        // More at once would need more registers than two blocks have.
#pragma unroll 2
        for (int k0 = 0; k0 < BK; k0++) {
            Vec<float, 4> x[2], y[2];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                x[h] = *reinterpret_cast<const Vec<float, 4>*>(&left[now][k0][row + h * 16]);
                y[h] = *reinterpret_cast<const Vec<float, 4>*>(&right[now][k0][col + h * 32]);
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) sum[i][j] = fmaf(x[i / 4].x[i % 4], y[j / 4].x[j % 4], sum[i][j]);
        }
    }

    c += u64(blockIdx.y) * m * ldc;
    const bool wide = aligned(c, ldc);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const u32 y = t.row + row + i / 4 * 16 + i % 4;
        if (y >= m) continue;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float x[4] = {sum[i][4 * h], sum[i][4 * h + 1], sum[i][4 * h + 2], sum[i][4 * h + 3]};
            put(c + u64(y) * ldc, bias, x, t.col + col + h * 32, n, add, wide);
        }
    }
}

#define GEMM(NAME, A, B, WIDE)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                       \
        NAME(float* c, const float* a, const float* b, const float* bias, u32 m, u32 n, u32 k, u32 lda, u32 ldb, u32 ldc,          \
             u32 add) {                                                                                                            \
        gemm<A, B, WIDE>(c, a, b, bias, m, n, k, lda, ldb, ldc, add);                                                              \
    }
GEMM(gemm_nt_f32, ALONG_K, ALONG_K, true)
GEMM(gemm_nn_f32, ALONG_K, ALONG_M, true)
GEMM(gemm_tn_f32, ALONG_M, ALONG_M, true)
GEMM(gemm_nt_any_f32, ALONG_K, ALONG_K, false)
GEMM(gemm_nn_any_f32, ALONG_K, ALONG_M, false)
GEMM(gemm_tn_any_f32, ALONG_M, ALONG_M, false)
