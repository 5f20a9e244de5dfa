// What the products of both precisions share: which tile a block computes, and what becomes of a sum.
#pragma once
#include "common.cuh"

// The tile of a block. Blocks in sequence go down GROUP tiles of rows, then to the next column: what runs at the same time
// reads few different rows and columns, which stay in L2.
struct Tile {
    u32 row, col;
};
template <int BM, int BN> __device__ __forceinline__ Tile tile(u32 block, u32 m, u32 n) {
    constexpr u32 GROUP = 8;
    const u32 rows = (m + BM - 1) / BM, cols = (n + BN - 1) / BN;
    const u32 first = block / (GROUP * cols) * GROUP, inside = block % (GROUP * cols);
    const u32 height = min(GROUP, rows - first);
    return {(first + inside % height) * BM, inside / height * BN};
}

// Numbers [from, to) of n parts of nearly the same size: part `i` of `parts`.
struct Range {
    u32 from, to;
};
__device__ __forceinline__ Range part(u32 n, u32 i, u32 parts) {
    const u32 size = (n + parts - 1) / parts;
    return {min(n, i * size), min(n, (i + 1) * size)};
}

// c = sum (+ bias) (+ c), added in f32 and rounded once. N numbers of a row from column `col` on, of which the matrix has n columns;
// 16 bytes at once where WIDE says that rows begin at multiples of 16 bytes.
template <typename C, typename T, int N>
__device__ __forceinline__ void put(C* row, const T* bias, float (&sum)[N], u32 col, u32 n, bool add, bool wide) {
    C* c = row + col;
    if (wide && col + N <= n) {
        if (bias) {
            const Vec<T, N> v = *reinterpret_cast<const Vec<T, N>*>(bias + col);
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] += to_float(v.x[j]);
        }
        if (add) {
            const Vec<C, N> v = *reinterpret_cast<const Vec<C, N>*>(c);
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] += to_float(v.x[j]);
        }
        Vec<C, N> v;
#pragma unroll
        for (int j = 0; j < N; j++) v.x[j] = from_float<C>(sum[j]);
        *reinterpret_cast<Vec<C, N>*>(c) = v;
        return;
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        if (col + j >= n) break;
        if (bias) sum[j] += to_float(bias[col + j]);
        if (add) sum[j] += to_float(c[j]);
        c[j] = from_float<C>(sum[j]);
    }
}

// Whether 16-byte accesses to each row are aligned.
template <typename C> __device__ __forceinline__ bool aligned(const C* c, u32 stride) {
    return (reinterpret_cast<u64>(c) | u64(stride) * sizeof(C)) % 16 == 0;
}

// The sums of a BM x BN tile on their way through shared memory, from the tensor cores' fragments to 16-byte stores of whole rows.
// Offset of the 4 floats of a row from column 4 `quad` on: fragments' stores and whole rows' loads are free of conflicts.
template <int BN> __device__ __forceinline__ u32 sums_at(u32 row, u32 quad) { return row * (BN * 4) + (quad ^ (row % 4 * 2)) * 16; }

// Two neighbours of a fragment; `col` is even.
template <int BN> __device__ __forceinline__ void put_sums(unsigned char* sums, u32 row, u32 col, float x, float y) {
    const Vec<float, 2> v = {x, y};
    *reinterpret_cast<Vec<float, 2>*>(sums + sums_at<BN>(row, col / 4) + col % 4 * 4) = v;
}

// c = sums (+ bias) (+ c) for the part of the tile that lies in c (m, n), by all THREADS of the block.
template <int BM, int BN, int THREADS, typename C>
__device__ __forceinline__ void store(C* c, const bf16* bias, const unsigned char* sums, Tile t, u32 m, u32 n, u32 ldc, bool add) {
    constexpr u32 N = Wide<C>::N, PER_ROW = BN / N;
    if (aligned(c, ldc)) {
        for (u32 at = threadIdx.x; at < BM * PER_ROW; at += THREADS) {
            const u32 i = at / PER_ROW, j = at % PER_ROW;
            if (t.row + i >= m) break;
            float x[N];
            // Two lanes of a group of eight that would meet in a bank read their halves in opposite order.
#pragma unroll
            for (u32 h = 0; h < N / 4; h++) {
                const u32 quad = N == 4 ? j : 2 * j + (h ^ (j / 4 % 2));
                const Vec<float, 4> v = *reinterpret_cast<const Vec<float, 4>*>(sums + sums_at<BN>(i, quad));
#pragma unroll
                for (int e = 0; e < 4; e++) x[h * 4 + e] = v.x[e];
            }
            if (N == 8 && j / 4 % 2) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float y = x[e];
                    x[e] = x[N - 4 + e];
                    x[N - 4 + e] = y;
                }
            }
            put(c + u64(t.row + i) * ldc, bias, x, t.col + j * N, n, add, true);
        }
        return;
    }
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 i = warp; i < BM && t.row + i < m; i += THREADS / 32) {
        for (u32 j = lane; j < BN; j += 32) {
            float x[1] = {*reinterpret_cast<const float*>(sums + sums_at<BN>(i, j / 4) + j % 4 * 4)};
            put(c + u64(t.row + i) * ldc, bias, x, t.col + j, n, add, false);
        }
    }
}
