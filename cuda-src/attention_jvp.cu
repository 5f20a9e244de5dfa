// The tangent of attention, computed in f32. With p_ij = exp(s_ij - lse_i) and s_dot_ij = (q_dot_i . k_j + q_i . k_dot_j) scale:
//   o_dot_i = sum_j p_ij s_dot_ij v_j + sum_j p_ij v_dot_j - (sum_j p_ij s_dot_ij) o_i, over the keys j of the path of row i.
// Shapes as in attention_fwd.cu; lse and o are the forward pass's.
// Grid: (tiles of 32 queries, heads) blocks of 256 threads; keys in tiles of 32, k and k_dot first, then v and v_dot in their place.
// Bytes: the queries' once; those of keys once for each tile of queries and head, but for the first time from L2.
// Deterministic: keys in the order of the path, one thread a sum.
#include "attention.cuh"

template <typename T, int D>
__device__ __forceinline__ void jvp(T* o_dot, const T* q_dot, const T* k_dot, const T* v_dot, const T* o, const float* lse, const T* q,
                                    const T* k, const T* v, const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    extern __shared__ __align__(16) float shared[];
    float *queries = shared, *query_dots = queries + TILE_FLOATS<D>, *keys = query_dots + TILE_FLOATS<D>, *key_dots = keys + TILE_FLOATS<D>;
    float *kept_p = key_dots + TILE_FLOATS<D>, *kept_ps = kept_p + SCORES;
    const Tile tile = tiles[blockIdx.x];
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16, head = blockIdx.y, kv_head = head / (heads / kv_heads);
    const u32 stride = heads * d, kv_stride = kv_heads * d;
    load_rows<D>(queries, q + head * d, tile.start, tile.end, stride, d);
    load_rows<D>(query_dots, q_dot + head * d, tile.start, tile.end, stride, d);
    float row_lse[2], sum[2][D / 16] = {}, mean[2] = {};
#pragma unroll
    for (int a = 0; a < 2; a++) {
        const u32 row = tile.start + y + 16 * a;
        row_lse[a] = row < tile.end ? lse[u64(row) * heads + head] : 0.f;
    }
    for (u32 i = tile.first; i < tile.last; i++) {
        const u32 end = min(spans[i].end, tile.end);
        for (u32 key = spans[i].start; key < end; key += TILE_ROWS) {
            load_rows<D>(keys, k + kv_head * d, key, end, kv_stride, d);
            load_rows<D>(key_dots, k_dot + kv_head * d, key, end, kv_stride, d);
            __syncthreads();
            float s[2][2] = {}, s_dot[2][2] = {};
            scores<D>(s, queries, keys);
            scores<D>(s_dot, query_dots, keys);
            scores<D>(s_dot, queries, key_dots);
#pragma unroll
            for (int a = 0; a < 2; a++)
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    const u32 j = key + x + 16 * b;
                    const bool met = j < end && j <= tile.start + y + 16 * a;
                    s[a][b] = met ? exp2f((s[a][b] * scale - row_lse[a]) * LOG2_E) : 0.f;
                    s_dot[a][b] *= s[a][b] * scale;
                    mean[a] += s_dot[a][b];
                }
            keep_scores(kept_p, s);
            keep_scores(kept_ps, s_dot);
            __syncthreads();
            load_rows<D>(keys, v + kv_head * d, key, end, kv_stride, d);
            load_rows<D>(key_dots, v_dot + kv_head * d, key, end, kv_stride, d);
            __syncthreads();
            accumulate<D>(sum, kept_ps, keys);
            accumulate<D>(sum, kept_p, key_dots);
            __syncthreads();
        }
    }
#pragma unroll
    for (int a = 0; a < 2; a++) {
        const u32 row = tile.start + y + 16 * a;
        mean[a] = row_sum(mean[a]);
        const T* of = o + u64(row) * stride + head * d;
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            const u32 col = sum_column(c);
            if (row < tile.end && col < d) sum[a][c] -= mean[a] * to_float(of[col]);
        }
    }
    const float factor[2] = {1.f, 1.f};
    store_rows<D>(o_dot + head * d, sum, factor, tile.start, tile.end, stride, d);
}

#define KERNEL(D, T, S)                                                                                                           \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                                                    \
        attention_jvp_##D##_##S(T* o_dot, const T* q_dot, const T* k_dot, const T* v_dot, const T* o, const float* lse,           \
                                const T* q, const T* k, const T* v, const Tile* tiles, const Span* spans, u32 heads,              \
                                u32 kv_heads, u32 d, float scale) {                                                               \
        jvp<T, D>(o_dot, q_dot, k_dot, v_dot, o, lse, q, k, v, tiles, spans, heads, kv_heads, d, scale);                          \
    }
FOR_WIDTHS(KERNEL, float, f32)
FOR_WIDTHS(KERNEL, bf16, bf16)
