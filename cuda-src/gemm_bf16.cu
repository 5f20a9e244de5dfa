// Products of bf16 matrices on tensor cores: c (m, n) (+)= op(a) (m, k) op(b) (k, n) + bias, summed in f32.
//   gemm_nt: a (m, k), b (n, k)   y = x w' and logits      gemm_nn: a (m, k), b (k, n)   dx = dy w
//   gemm_tn: a (k, m), b (k, n)   dw += dy' x               `_any`: rows that do not begin at multiples of 16 bytes, number by number
// c is bf16 or f32 (wide_out), rows ldc apart; bias (n) or null. With a_low the left factor is a + a_low, each bf16: 16 bits of mantissa.
// parts > 1: block (x, p) sums part p of k into c = partial sums (parts, m, n rounded up to 4) in f32, without bias; finish in gemm_parts.cu adds them in order.
// Grid: (ceil(m / 128) ceil(n / 128), parts) blocks of 4 warps, a 64 x 64 tile each; 64 KB of shared memory: 4 stages of 128 x 32 of both
// factors, which cp.async fills three ahead; after the last the sums pass through it to 16-byte stores.
// Bytes: a is read ceil(n / 128) times and b ceil(m / 128) times, but for the first time from L2; c written once (and read where added to).
// Deterministic: k goes upward in steps of 16 in one accumulator; parts are fixed by the shape.
#include "gemm.cuh"
#include "mma.cuh"

constexpr int BM = 128, BN = 128, BK = 32, STAGES = 4, THREADS = 128;
// Bytes of one factor's tile and of a stage.
constexpr u32 TILE = BM * BK * 2, STAGE = 2 * TILE;

// How a factor lies in memory: its rows along k (a of nt and nn, b of nt), or rows of the m (n) index for each k.
enum Along { ALONG_K, ALONG_M };

// Copies one factor's 128 x 32 tiles to shared memory, 4 chunks of 8 numbers a thread.
template <Along ALONG, bool WIDE> struct Loader {
    static constexpr int PER_ROW = ALONG == ALONG_K ? BK / 8 : BM / 8;
    static constexpr int STEP = THREADS / PER_ROW;
    const bf16* from;
    u32 to;      // offset in the tile
    u32 stride;
    u32 outer;   // rows below the first chunk's, of the matrix as it lies in memory; at a tile's first k
    u32 inner;   // numbers to the right of the chunk's start

    // Tile rows from `m0` on of a factor with `m` of them, and from k0 on of k.
    __device__ __forceinline__ Loader(const bf16* p, u32 ld, u32 m0, u32 m, u32 k0, u32 k) {
        const u32 row = threadIdx.x / PER_ROW, chunk = threadIdx.x % PER_ROW;
        to = swizzle<PER_ROW>(row, chunk);
        stride = ld;
        const u32 y = (ALONG == ALONG_K ? m0 : k0) + row, x = (ALONG == ALONG_K ? k0 : m0) + chunk * 8;
        const u32 rows = ALONG == ALONG_K ? m : k, cols = ALONG == ALONG_K ? k : m;
        from = p + u64(y) * ld + x;
        outer = rows > y ? rows - y : 0;
        inner = cols > x ? cols - x : 0;
    }

    // Starts the copy of the tile to `tile`, and goes on to the next k.
    __device__ __forceinline__ void next(unsigned char* stage, u32 tile) {
        const u32 numbers = min(inner, 8u);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const bf16* p = from + u64(i * STEP) * stride;
            const u32 count = i * STEP < outer ? numbers : 0, at = tile + to + i * STEP * PER_ROW * 16;
            if (WIDE) {
                cp_async_part(at, p, count * 2);
            } else {
                Vec<bf16, 8> v;
#pragma unroll
                for (int j = 0; j < 8; j++) v.x[j] = j < count ? p[j] : from_float<bf16>(0.f);
                *reinterpret_cast<Vec<bf16, 8>*>(stage + (at - shared_address(stage))) = v;
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
};

// a or two b of 16 rows of the tile (from m0 on) and 16 of k; the halves' order is what tells a from b.
template <Along ALONG, bool A> __device__ __forceinline__ void fragment(u32 (&r)[4], u32 tile, u32 m0, u32 k0) {
    const u32 l = threadIdx.x % 32;
    const u32 lower = l % 16, upper = l / 16, low8 = l % 8 + l / 16 * 8, odd8 = l / 8 % 2;
    if (ALONG == ALONG_K) {
        ldmatrix_x4(r, tile + swizzle<BK / 8>(m0 + (A ? lower : low8), k0 / 8 + (A ? upper : odd8)));
    } else {
        ldmatrix_x4_trans(r, tile + swizzle<BM / 8>(k0 + (A ? low8 : lower), m0 / 8 + (A ? odd8 : upper)));
    }
}

template <Along A, Along B, bool WIDE>
__device__ __forceinline__ void gemm(void* c, const bf16* a, const bf16* a_low, const bf16* b, const bf16* bias, u32 m, u32 n, u32 k, u32 lda, u32 ldb,
                                     u32 ldc, u32 add, u32 wide_out) {
    extern __shared__ __align__(128) unsigned char shared[];
    const u32 base = shared_address(shared);
    const Tile t = tile<BM, BN>(blockIdx.x, m, n);
    const u32 once = (k + BK - 1) / BK;
    const Range steps = part(a_low ? 2 * once : once, blockIdx.y, gridDim.y);
    const u32 first = steps.from < once ? steps.from : steps.from - once;
    Loader<A, WIDE> load_a(steps.from < once ? a : a_low, lda, t.row, m, first * BK, k);
    Loader<B, WIDE> load_b(b, ldb, t.col, n, first * BK, k);
    u32 loaded = steps.from;
    auto load = [&]() {
        if (loaded < steps.to) {
            // With a_low, k is gone through once more.
            if (loaded == once && loaded != steps.from) {
                load_a = Loader<A, WIDE>(a_low, lda, t.row, m, 0, k);
                load_b = Loader<B, WIDE>(b, ldb, t.col, n, 0, k);
            }
            const u32 stage = base + loaded % STAGES * STAGE;
            load_a.next(shared, stage);
            load_b.next(shared, stage + TILE);
            loaded++;
        }
        cp_commit();
    };

    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 row = warp / 2 * 64, col = warp % 2 * 64;
    float sum[4][8][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.f;

    // A warp whose part of the tile lies outside of c only copies.
    const bool inside = t.row + row < m && t.col + col < n;
    u32 left[4][4], right[4][4];
    auto fetch = [&](u32 stage, u32 k0) {
#pragma unroll
        for (int i = 0; i < 4; i++) fragment<A, true>(left[i], stage, row + i * 16, k0);
#pragma unroll
        for (int j = 0; j < 4; j++) fragment<B, false>(right[j], stage + TILE, col + j * 16, k0);
    };
    auto multiply = [&]() {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 8; j++) mma_bf16(sum[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
    };

    for (int s = 0; s < STAGES - 1; s++) load();
    for (u32 step = steps.from; step < steps.to; step++) {
        cp_wait<STAGES - 2>();
        // The tile is there for all, and all have done with the one before, whose place the next load takes.
        __syncthreads();
        const u32 stage = base + step % STAGES * STAGE;
        if (inside) fetch(stage, 0);
        // The addresses of the next copies are computed while the first fragments are on their way.
        load();
        if (inside) {
            multiply();
            fetch(stage, 16);
            multiply();
        }
    }
    __syncthreads();

#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const u32 y = row + i * 16 + lane / 4 + h * 8, x = col + j * 8 + lane % 4 * 2;
                put_sums<BN>(shared, y, x, sum[i][j][2 * h], sum[i][j][2 * h + 1]);
            }
    __syncthreads();
    if (wide_out) {
        const u64 before = u64(blockIdx.y) * m * ldc;
        store<BM, BN, THREADS>(static_cast<float*>(c) + before, bias, shared, t, m, n, ldc, add);
    } else {
        store<BM, BN, THREADS>(static_cast<bf16*>(c), bias, shared, t, m, n, ldc, add);
    }
}

#define GEMM(NAME, A, B, WIDE)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                       \
        NAME(void* c, const bf16* a, const bf16* a_low, const bf16* b, const bf16* bias, u32 m, u32 n, u32 k, u32 lda, u32 ldb,    \
             u32 ldc, u32 add, u32 wide_out) {                                                                                     \
        gemm<A, B, WIDE>(c, a, a_low, b, bias, m, n, k, lda, ldb, ldc, add, wide_out);                                             \
    }
GEMM(gemm_nt_bf16, ALONG_K, ALONG_K, true)
GEMM(gemm_nn_bf16, ALONG_K, ALONG_M, true)
GEMM(gemm_tn_bf16, ALONG_M, ALONG_M, true)
GEMM(gemm_nt_any_bf16, ALONG_K, ALONG_K, false)
GEMM(gemm_nn_any_bf16, ALONG_K, ALONG_M, false)
GEMM(gemm_tn_any_bf16, ALONG_M, ALONG_M, false)
