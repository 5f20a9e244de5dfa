// The backward pass of attention in f32. With p_ij = exp(s_ij - lse_i), delta_i = do_i . o_i and ds_ij = p_ij (do_i . v_j - delta_i):
//   attention_delta  delta_i                                    attention_dq  dq_i = scale sum_j ds_ij k_j
//   attention_dkv    dk_j = scale sum_i ds_ij q_i, dv_j = sum_i p_ij do_i, over the heads of a group and the rows that attend to j
// Shapes as in attention_fwd.cu; delta (N, heads).
// Grid: delta: ceil(N heads / 8), a warp a row and head; dq: (tiles of 32 queries, heads); dkv: (tiles of 32 keys, kv_heads); 256 threads.
// Bytes: the tile's own rows once; the rows it meets once for each tile, but for the first time from L2.
// Deterministic, no atomics: each output is one thread's sum, over heads upward and over rows in the order of the spans.
#include "attention.cuh"

template <typename T>
__device__ __forceinline__ void delta_of(float* delta, const T* d_o, const T* o, u32 rows, u32 d) {
    constexpr u32 WARPS = TILE_THREADS / 32;
    __shared__ float sums[WARPS];
    const u32 first = blockIdx.x * WARPS, row = first + threadIdx.x / 32, here = row < rows ? d : 0;
    const u64 at = u64(row) * d;
    float sum = 0.f;
    for (u32 i = threadIdx.x % 32; i < here; i += 32) sum = fmaf(to_float(d_o[at + i]), to_float(o[at + i]), sum);
    sum = warp_sum(sum);
    // The warps' sums are one sector: it is written once.
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < WARPS && first + threadIdx.x < rows) delta[first + threadIdx.x] = sums[threadIdx.x];
}

template <typename T, int D>
__device__ __forceinline__ void dq_of(T* dq, const T* d_o, const float* lse, const float* delta, const T* q, const T* k, const T* v,
                                      const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *d_os = queries + TILE_FLOATS<D>, *keys = d_os + TILE_FLOATS<D>, *values = keys + TILE_FLOATS<D>;
    float* kept = values + TILE_FLOATS<D>;
    const Tile tile = tiles[blockIdx.x];
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16, head = blockIdx.y, kv_head = head / (heads / kv_heads);
    load_rows<D>(queries, q + head * d, tile.start, tile.end, heads * d, d);
    load_rows<D>(d_os, d_o + head * d, tile.start, tile.end, heads * d, d);
    float row_lse[2], row_delta[2], sum[2][D / 16] = {};
#pragma unroll
    for (int a = 0; a < 2; a++) {
        const u32 row = tile.start + y + 16 * a;
        row_lse[a] = row < tile.end ? lse[u64(row) * heads + head] : 0.f;
        row_delta[a] = row < tile.end ? delta[u64(row) * heads + head] : 0.f;
    }
    for (u32 i = tile.first; i < tile.last; i++) {
        const u32 end = min(spans[i].end, tile.end);
        for (u32 key = spans[i].start; key < end; key += TILE_ROWS) {
            load_rows<D>(keys, k + kv_head * d, key, end, kv_heads * d, d);
            load_rows<D>(values, v + kv_head * d, key, end, kv_heads * d, d);
            __syncthreads();
            float s[2][2] = {}, dp[2][2] = {};
            scores<D>(s, queries, keys);
            scores<D>(dp, d_os, values);
#pragma unroll
            for (int a = 0; a < 2; a++)
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    const u32 j = key + x + 16 * b;
                    const bool met = j < end && j <= tile.start + y + 16 * a;
                    s[a][b] = met ? exp2f((s[a][b] * scale - row_lse[a]) * LOG2_E) * (dp[a][b] - row_delta[a]) : 0.f;
                }
            keep_scores(kept, s);
            __syncwarp();
            accumulate<D>(sum, kept, keys);
            __syncthreads();
        }
    }
    const float factor[2] = {scale, scale};
    store_rows<D>(dq + head * d, sum, factor, tile.start, tile.end, heads * d, d);
}

template <typename T, int D>
__device__ __forceinline__ void dkv_of(T* dk, T* dv, const T* d_o, const float* lse, const float* delta, const T* q, const T* k, const T* v,
                                       const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    extern __shared__ __align__(16) float shared[];
    float *keys = shared, *values = keys + TILE_FLOATS<D>, *queries = values + TILE_FLOATS<D>, *d_os = queries + TILE_FLOATS<D>;
    float *kept_p = d_os + TILE_FLOATS<D>, *kept_ds = kept_p + SCORES;
    // lse and delta of the queries, `heads` apart in memory: each is read once for all warps.
    __shared__ float stats[2][TILE_ROWS];
    const Tile tile = tiles[blockIdx.x];
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16, kv_head = blockIdx.y, group = heads / kv_heads;
    load_rows<D>(keys, k + kv_head * d, tile.start, tile.end, kv_heads * d, d);
    load_rows<D>(values, v + kv_head * d, tile.start, tile.end, kv_heads * d, d);
    float sum_k[2][D / 16] = {}, sum_v[2][D / 16] = {};
    for (u32 head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (u32 i = tile.first; i < tile.last; i++) {
            const u32 end = spans[i].end;
            for (u32 query = max(spans[i].start, tile.start); query < end; query += TILE_ROWS) {
                load_rows<D>(queries, q + head * d, query, end, heads * d, d);
                load_rows<D>(d_os, d_o + head * d, query, end, heads * d, d);
                if (threadIdx.x < 2 * TILE_ROWS) {
                    const u32 i = threadIdx.x % TILE_ROWS, row = query + i;
                    const float* of = threadIdx.x < TILE_ROWS ? lse : delta;
                    stats[threadIdx.x / TILE_ROWS][i] = row < end ? of[u64(row) * heads + head] : 0.f;
                }
                __syncthreads();
                float s[2][2] = {}, dp[2][2] = {};
                scores<D>(s, keys, queries);
                scores<D>(dp, values, d_os);
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    const u32 row = query + x + 16 * b;
                    const float row_lse = stats[0][x + 16 * b], row_delta = stats[1][x + 16 * b];
#pragma unroll
                    for (int a = 0; a < 2; a++) {
                        const bool met = row < end && tile.start + y + 16 * a <= row;
                        s[a][b] = met ? exp2f((s[a][b] * scale - row_lse) * LOG2_E) : 0.f;
                        dp[a][b] = s[a][b] * (dp[a][b] - row_delta);
                    }
                }
                keep_scores(kept_p, s);
                keep_scores(kept_ds, dp);
                __syncwarp();
                accumulate<D>(sum_v, kept_p, d_os);
                accumulate<D>(sum_k, kept_ds, queries);
                __syncthreads();
            }
        }
    }
    const float of_k[2] = {scale, scale}, of_v[2] = {1.f, 1.f};
    store_rows<D>(dk + kv_head * d, sum_k, of_k, tile.start, tile.end, kv_heads * d, d);
    store_rows<D>(dv + kv_head * d, sum_v, of_v, tile.start, tile.end, kv_heads * d, d);
}

#define DELTA(T, S)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                                                    \
        attention_delta_##S(float* delta, const T* d_o, const T* o, u32 rows, u32 d) {                                            \
        delta_of(delta, d_o, o, rows, d);                                                                                         \
    }
FOR_BOTH(DELTA)

#define KERNELS(D, T, S)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                                                    \
        attention_dq_##D##_##S(T* dq, const T* d_o, const float* lse, const float* delta, const T* q, const T* k, const T* v,     \
                               const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {               \
        dq_of<T, D>(dq, d_o, lse, delta, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                       \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                                                    \
        attention_dkv_##D##_##S(T* dk, T* dv, const T* d_o, const float* lse, const float* delta, const T* q, const T* k,         \
                                const T* v, const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {  \
        dkv_of<T, D>(dk, dv, d_o, lse, delta, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                  \
    }
FOR_WIDTHS(KERNELS, float, f32)
FOR_WIDTHS(KERNELS, bf16, bf16)
