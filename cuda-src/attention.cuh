// What the kernels of attention over the packed prefix tree share: the tree as lists of tiles and spans, and, for the kernels without
// tensor cores, products of tiles of 32 rows in shared memory.
//
// A tile is a run of rows of one segment. The rows that it meets lie in spans: for a tile of queries the keys of its segment's path,
// root first; for a tile of keys the queries of its segment and of all descendants, first row first. An ancestor lies before its
// descendants, so in every span a query attends to exactly the keys that are not after it. Runs that touch are one span.
#pragma once
#include "common.cuh"

struct alignas(16) Tile {
    u32 start, end;   // rows
    u32 first, last;  // spans first .. last
};
struct alignas(8) Span {
    u32 start, end;
};

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// The kernels below: 256 threads as 16 x 16 (y, x). A thread has rows y + 16 a of a product, and of its columns
// x + 16 b where it is of scores (a, b < 2), 2 x + 32 b and the next where it is D wide.
constexpr int TILE_ROWS = 32, TILE_THREADS = 256;
// Floats between rows of scores: the two rows that a warp touches lie in different banks.
constexpr int SCORES_LD = 48, SCORES = TILE_ROWS * SCORES_LD;
// Floats between rows of D: an odd number of 16 bytes, so eight rows at one column lie in different banks.
template <int D> constexpr int TILE_LD = D + 4;
template <int D> constexpr int TILE_FLOATS = TILE_ROWS * TILE_LD<D>;

// Rows start .. start + 32 of x, their d numbers from x on, `stride` apart, to shared memory; zeros from row `end` and column d on.
template <int D, typename T>
__device__ __forceinline__ void load_rows(float* tile, const T* x, u32 start, u32 end, u32 stride, u32 d) {
    constexpr int N = Wide<T>::N;
    const bool wide = d % N == 0;
    for (u32 i = threadIdx.x; i < TILE_ROWS * D / N; i += TILE_THREADS) {
        const u32 row = i / (D / N), col = i % (D / N) * N;
        const T* from = x + u64(start + row) * stride + col;
        const u32 count = start + row < end && col < d ? min(d - col, u32(N)) : 0;
        typename Wide<T>::V v;
        if (wide && count) {
            v = *reinterpret_cast<const typename Wide<T>::V*>(from);
        } else {
#pragma unroll
            for (u32 j = 0; j < N; j++) v.x[j] = j < count ? from[j] : from_float<T>(0.f);
        }
#pragma unroll
        for (int j = 0; j < N; j += 4) {
            Vec<float, 4> f;
#pragma unroll
            for (int e = 0; e < 4; e++) f.x[e] = to_float(v.x[j + e]);
            *reinterpret_cast<Vec<float, 4>*>(tile + row * TILE_LD<D> + col + j) = f;
        }
    }
}

// s[a][b] += sum_c rows[y + 16 a][c] cols[x + 16 b][c], in four sums of every fourth c, upward.
template <int D> __device__ __forceinline__ void scores(float (&s)[2][2], const float* rows, const float* cols) {
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    float part[2][2][4] = {};
#pragma unroll 4
    for (int c = 0; c < D; c += 4) {
        Vec<float, 4> r[2], k[2];
#pragma unroll
        for (int a = 0; a < 2; a++) {
            r[a] = *reinterpret_cast<const Vec<float, 4>*>(rows + (y + 16 * a) * TILE_LD<D> + c);
            k[a] = *reinterpret_cast<const Vec<float, 4>*>(cols + (x + 16 * a) * TILE_LD<D> + c);
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int a = 0; a < 2; a++)
#pragma unroll
                for (int b = 0; b < 2; b++) part[a][b][e] = fmaf(r[a].x[e], k[b].x[e], part[a][b][e]);
    }
#pragma unroll
    for (int a = 0; a < 2; a++)
#pragma unroll
        for (int b = 0; b < 2; b++) s[a][b] += (part[a][b][0] + part[a][b][1]) + (part[a][b][2] + part[a][b][3]);
}

// Keeps this thread's scores for `accumulate`, which only threads of the same y read: __syncwarp() is enough between the two.
__device__ __forceinline__ void keep_scores(float* kept, const float (&s)[2][2]) {
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int a = 0; a < 2; a++)
#pragma unroll
        for (int b = 0; b < 2; b++) kept[(y + 16 * a) * SCORES_LD + x + 16 * b] = s[a][b];
}

// sum[a][..] += sum_j kept[y + 16 a][j] values[j][..], j upward.
template <int D> __device__ __forceinline__ void accumulate(float (&sum)[2][D / 16], const float* kept, const float* values) {
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll 2
    for (int j = 0; j < TILE_ROWS; j += 4) {
        Vec<float, 4> p[2];
#pragma unroll
        for (int a = 0; a < 2; a++) p[a] = *reinterpret_cast<const Vec<float, 4>*>(kept + (y + 16 * a) * SCORES_LD + j);
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int b = 0; b < D / 32; b++) {
                const Vec<float, 2> v = *reinterpret_cast<const Vec<float, 2>*>(values + (j + e) * TILE_LD<D> + 2 * x + 32 * b);
#pragma unroll
                for (int a = 0; a < 2; a++) {
                    sum[a][2 * b] = fmaf(p[a].x[e], v.x[0], sum[a][2 * b]);
                    sum[a][2 * b + 1] = fmaf(p[a].x[e], v.x[1], sum[a][2 * b + 1]);
                }
            }
    }
}

// Number 2 b (and the next) of a thread's sums is this column.
__device__ __forceinline__ u32 sum_column(int i) { return threadIdx.x % 16 * 2 + i / 2 * 32 + i % 2; }

// Writes rows start .. end of sums, times `factor`.
template <int D, typename T>
__device__ __forceinline__ void store_rows(T* out, const float (&sum)[2][D / 16], const float (&factor)[2], u32 start, u32 end, u32 stride, u32 d) {
#pragma unroll
    for (int a = 0; a < 2; a++) {
        const u32 row = start + threadIdx.x / 16 + 16 * a;
        T* to = out + u64(row) * stride;
#pragma unroll
        for (int i = 0; i < D / 16; i += 2) {
            const u32 col = sum_column(i);
            if (row >= end || col >= d) continue;
            const Vec<T, 2> both = {from_float<T>(sum[a][i] * factor[a]), from_float<T>(sum[a][i + 1] * factor[a])};
            if (d % 2 == 0) {
                *reinterpret_cast<Vec<T, 2>*>(to + col) = both;
            } else {
                to[col] = both.x[0];
                if (col + 1 < d) to[col + 1] = both.x[1];
            }
        }
    }
}

// Over the 16 threads of a row, the same bits in each.
__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
    for (int i = 8; i > 0; i /= 2) x += __shfl_xor_sync(FULL_MASK, x, i);
    return x;
}
__device__ __forceinline__ float row_max(float x) {
#pragma unroll
    for (int i = 8; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, i));
    return x;
}

// A kernel for each width that heads are padded to: FOR_WIDTHS(M, T, S) is M(32, T, S) ...
#define FOR_WIDTHS(M, T, S) M(32, T, S) M(64, T, S) M(96, T, S) M(128, T, S)
