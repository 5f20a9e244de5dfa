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
