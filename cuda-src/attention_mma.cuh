// What the kernels of attention on tensor cores share: copies of tiles of rows, their fragments, and the way of results to memory.
// Blocks are of 4 warps; a tile's rows are D wide, in chunks of 8 numbers that `swizzle` spreads over the banks.
#pragma once
#include "attention.cuh"
#include "mma.cuh"

constexpr int THREADS = 128;

// The offset of the chunk `c` (even) beyond an offset that `swizzle` gave for chunk 0 or 1.
template <int CHUNKS> __device__ __forceinline__ u32 beyond(u32 offset, u32 c) {
    constexpr u32 P = CHUNKS % 8 == 0 ? 8 : 4;
    return (offset ^ (c % P * 16)) + c / P * P * 16;
}

// Starts the copy of rows start .. start + ROWS of x, d of their `stride` numbers from `column` on, to a tile; zeros from row `end` and from d on.
template <int D, int ROWS> __device__ __forceinline__ void copy_rows(u32 tile, const bf16* x, u32 column, u32 start, u32 end, u32 stride, u32 d) {
    constexpr int CHUNKS = D / 8;
    if (THREADS % CHUNKS == 0) {
        constexpr u32 STEP = THREADS / CHUNKS;
        const u32 row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        const u32 rows = chunk * 8 < d && end > start + row ? end - start - row : 0;
        const bf16* from = x + (u64(start + row) * stride + (column + chunk * 8));
#pragma unroll
        for (u32 i = 0; i < ROWS / STEP; i++) {
            cp_async_16(tile + swizzle<CHUNKS>(i * STEP + row, chunk), from, i * STEP < rows);
            from += STEP * stride;
        }
    } else {
        for (u32 i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
            const u32 row = i / CHUNKS, chunk = i % CHUNKS;
            cp_async_16(tile + swizzle<CHUNKS>(row, chunk), x + u64(start + row) * stride + column + chunk * 8, start + row < end && chunk * 8 < d);
        }
    }
}

// 2^x, to 2 ulp; below 2^-126 nought.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// Over the four lanes of a fragment's row, the same bits in each.
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL_MASK, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(FULL_MASK, x, 1);
    return x + __shfl_xor_sync(FULL_MASK, x, 2);
}

// Where a walk over the keys that a tile of queries meets has got to: keys from `key` to `end` of a span.
template <int BN> struct Keys {
    u32 span, key;

    __device__ __forceinline__ Keys(const Span* spans, const Tile& t) : span(t.first), key(spans[t.first].start) {}
    __device__ __forceinline__ bool more(const Tile& t) const { return span < t.last; }
    __device__ __forceinline__ u32 end(const Span* spans, const Tile& t) const { return min(spans[span].end, t.end); }
    __device__ __forceinline__ void next(const Span* spans, const Tile& t) {
        key += BN;
        if (key >= end(spans, t) && ++span < t.last) key = spans[span].start;
    }
};

// Rows (16 M, D) of a warp's sums, times a factor for each of a lane's rows, to x in stores of 16 bytes: rows first .. end, d of their
// `stride` numbers from `column` on. They pass through `rows`, the warp's own part of shared memory.
template <int D, int M>
__device__ __forceinline__ void store_sums(bf16* x, unsigned char* rows, const float (&sum)[M][D / 8][4], const float (&factor)[M][2],
                                           u32 column, u32 first, u32 end, u32 stride, u32 d) {
    constexpr int CHUNKS = D / 8;
    const u32 lane = threadIdx.x % 32;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int n = 0; n < CHUNKS; n++)
                *reinterpret_cast<u32*>(rows + swizzle<CHUNKS>(m * 16 + h * 8 + lane / 4, n) + lane % 4 * 4) =
                    pack_bf16(sum[m][n][2 * h] * factor[m][h], sum[m][n][2 * h + 1] * factor[m][h]);
    __syncwarp();
    for (u32 i = lane; i < M * 16 * CHUNKS; i += 32) {
        const u32 row = i / CHUNKS, chunk = i % CHUNKS;
        if (first + row < end && chunk * 8 < d)
            *reinterpret_cast<Vec<bf16, 8>*>(x + u64(first + row) * stride + column + chunk * 8) =
                *reinterpret_cast<const Vec<bf16, 8>*>(rows + swizzle<CHUNKS>(row, chunk));
    }
}

template <int M, int N> __device__ __forceinline__ void clear(float (&sum)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[m][n][e] = 0.f;
}

// A fragment of a left factor: numbers 16 c .. 16 c + 15 of sums whose columns are its k.
template <int N> __device__ __forceinline__ void left_of(u32 (&a)[4], const float (&x)[N][4], int c) {
#pragma unroll
    for (int e = 0; e < 4; e++) a[e] = pack_bf16(x[2 * c + e / 2][e % 2 * 2], x[2 * c + e / 2][e % 2 * 2 + 1]);
}

// A warp's scores, rows from `row` and columns from `column` on: those that met(row, column) denies are -infinity.
template <int M, int N, typename F> __device__ __forceinline__ void mask(float (&s)[M][N][4], u32 row, u32 column, F met) {
    const u32 lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (!met(row + m * 16 + lane / 4 + e / 2 * 8, column + n * 8 + lane % 4 * 2 + e % 2)) s[m][n][e] = NEG_INFINITY;
}

// sum (16 M, D) += x (16 M, 8 N), rounded to bf16, times a tile of 8 N rows; `at` is this lane's offset for fragments of K x N rows.
template <int D, int M, int N>
__device__ __forceinline__ void add_product(float (&sum)[M][D / 8][4], const float (&x)[M][N][4], u32 tile, u32 at) {
    constexpr int CHUNKS = D / 8;
#pragma unroll
    for (int c = 0; c < N / 2; c++) {
        u32 left[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) left_of(left[m], x[m], c);
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            u32 right[4];
            ldmatrix_x4_trans(right, tile + c * 16 * CHUNKS * 16 + beyond<CHUNKS>(at, 2 * n));
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int h = 0; h < 2; h++) mma_bf16(sum[m][2 * n + h], left[m], right[2 * h], right[2 * h + 1]);
        }
    }
}
