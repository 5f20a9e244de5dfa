// Attention in f32: o_i = sum_j p_ij v_j, p_ij = exp(s_ij - lse_i), s_ij = q_i . k_j scale, lse_i = log sum_j exp(s_ij), over the keys j of
// the path of row i; head h of q with head h / (heads / kv_heads) of k and v.
// Shapes: q, o (N, heads d), k, v (N, kv_heads d), lse (N, heads), any d up to D (zeros beyond it).
// Grid: (tiles of 32 queries, heads) blocks of 256 threads; flash attention: keys in tiles of 32, the softmax carried along.
// Bytes: q, o, lse once; k and v once for each tile of queries and head, but for the first time from L2.
// Deterministic: keys in the order of the path, one thread a sum.
#include "attention.cuh"

template <typename T, int D>
__device__ __forceinline__ void forward(T* o, float* lse, const T* q, const T* k, const T* v, const Tile* tiles, const Span* spans,
                                        u32 heads, u32 kv_heads, u32 d, float scale) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *keys = queries + TILE_FLOATS<D>, *values = keys + TILE_FLOATS<D>, *kept = values + TILE_FLOATS<D>;
    const Tile tile = tiles[blockIdx.x];
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16, head = blockIdx.y, kv_head = head / (heads / kv_heads);
    load_rows<D>(queries, q + head * d, tile.start, tile.end, heads * d, d);
    float sum[2][D / 16] = {}, largest[2] = {NEG_INFINITY, NEG_INFINITY}, total[2] = {};
    for (u32 i = tile.first; i < tile.last; i++) {
        const u32 end = min(spans[i].end, tile.end);
        for (u32 key = spans[i].start; key < end; key += TILE_ROWS) {
            load_rows<D>(keys, k + kv_head * d, key, end, kv_heads * d, d);
            load_rows<D>(values, v + kv_head * d, key, end, kv_heads * d, d);
            __syncthreads();
            float s[2][2] = {};
            scores<D>(s, queries, keys);
#pragma unroll
            for (int a = 0; a < 2; a++) {
                const u32 row = tile.start + y + 16 * a;
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    const u32 j = key + x + 16 * b;
                    s[a][b] = j < end && j <= row ? s[a][b] * scale : NEG_INFINITY;
                }
                // Every row attends to the first key of its path, which is in the first tile: finite from there on.
                const float most = fmaxf(largest[a], row_max(fmaxf(s[a][0], s[a][1])));
                const float before = exp2f((largest[a] - most) * LOG2_E);
                largest[a] = most;
#pragma unroll
                for (int b = 0; b < 2; b++) s[a][b] = exp2f((s[a][b] - most) * LOG2_E);
                total[a] = total[a] * before + (s[a][0] + s[a][1]);
#pragma unroll
                for (int c = 0; c < D / 16; c++) sum[a][c] *= before;
            }
            keep_scores(kept, s);
            __syncwarp();
            accumulate<D>(sum, kept, values);
            __syncthreads();
        }
    }
    float factor[2];
#pragma unroll
    for (int a = 0; a < 2; a++) {
        const u32 row = tile.start + y + 16 * a;
        const float l = row_sum(total[a]);
        factor[a] = 1.f / l;
        if (x == 0 && row < tile.end) lse[u64(row) * heads + head] = largest[a] + logf(l);
    }
    store_rows<D>(o + head * d, sum, factor, tile.start, tile.end, heads * d, d);
}

#define KERNEL(D, T, S)                                                                                                           \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                                                    \
        attention_fwd_##D##_##S(T* o, float* lse, const T* q, const T* k, const T* v, const Tile* tiles, const Span* spans,       \
                                u32 heads, u32 kv_heads, u32 d, float scale) {                                                    \
        forward<T, D>(o, lse, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                                  \
    }
FOR_WIDTHS(KERNEL, float, f32)
FOR_WIDTHS(KERNEL, bf16, bf16)
