// Attention of bf16 on tensor cores, the equations and shapes of attention_fwd.cu with d a multiple of 8: flash attention, scores and sums in f32,
// the softmax in base 2; p is rounded to bf16 before its product with v.
// Grid: (tiles of 128 queries, heads) blocks of 4 warps. A warp has 32 queries, so each fragment of k and v that it reads is used twice.
// Shared memory: 128 queries (later the outputs), 64 keys and values (48 where d > 96). The values come while the scores are computed, the next keys while the values are summed.
// Bytes: q, o, lse once; k and v once for each tile of queries and head, but for the first time from L2. A block's lse are single
// numbers `heads` apart: the sectors are filled by the heads' blocks together, in L2.
// Deterministic: keys in the order of the path, one warp a row.
#include "attention_mma.cuh"

constexpr int BM = 128;
// Keys of a tile: as many as leave the widest heads' sums and scores in registers.
template <int D> constexpr int KEYS = D <= 96 ? 64 : 48;

template <int D>
__device__ __forceinline__ void forward(bf16* o, float* lse, const bf16* q, const bf16* k, const bf16* v, const Tile* tiles,
                                        const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    constexpr int CHUNKS = D / 8, BN = KEYS<D>;
    constexpr u32 ROW = CHUNKS * 16;
    // The queries' fragments stay in registers where there is room.
    constexpr bool KEEP = D <= 64;
    extern __shared__ __align__(128) unsigned char shared[];
    const u32 queries = shared_address(shared), keys = queries + BM * ROW, values = keys + BN * ROW;
    const Tile tile = tiles[blockIdx.x];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    const u32 stride = heads * d, kv_stride = kv_heads * d, kv_column = head / (heads / kv_heads) * d;
    const u32 own = queries + warp * 32 * ROW;
    const u32 at_q = swizzle<CHUNKS>(lane % 16, lane / 16), at_k = swizzle<CHUNKS>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    const u32 at_v = at_q;
    const u32 first = tile.start + warp * 32;

    Keys<BN> at(spans, tile);
    copy_rows<D, BM>(queries, q, head * d, tile.start, tile.end, stride, d);
    copy_rows<D, BN>(keys, k, kv_column, at.key, at.end(spans, tile), kv_stride, d);
    cp_commit();

    u32 kept[KEEP ? D / 16 : 1][2][4];
    float sum[2][D / 8][4], largest[2][2], total[2][2];
    clear(sum);
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            largest[m][h] = NEG_INFINITY;
            total[m][h] = 0.f;
        }
    const float to_base_2 = scale * LOG2_E;
    bool fresh = true;

    for (; at.more(tile); at.next(spans, tile)) {
        cp_wait<0>();
        // The keys are there for all, and all have done with the values before.
        __syncthreads();
        copy_rows<D, BN>(values, v, kv_column, at.key, at.end(spans, tile), kv_stride, d);
        cp_commit();
        if (KEEP && fresh) {
#pragma unroll
            for (int c = 0; c < D / 16; c++)
#pragma unroll
                for (int m = 0; m < 2; m++) ldmatrix_x4(kept[KEEP ? c : 0][m], own + m * 16 * ROW + beyond<CHUNKS>(at_q, 2 * c));
            fresh = false;
        }
        // A warp whose rows are all before these keys has nothing to do with them.
        const bool met = first < tile.end && at.key < first + 32;
        float s[2][BN / 8][4];
        if (met) {
            clear(s);
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                u32 left[2][4];
                if (!KEEP) {
#pragma unroll
                    for (int m = 0; m < 2; m++) ldmatrix_x4(left[m], own + m * 16 * ROW + beyond<CHUNKS>(at_q, 2 * c));
                }
#pragma unroll
                for (int n = 0; n < BN / 16; n++) {
                    u32 right[4];
                    ldmatrix_x4(right, keys + n * 16 * ROW + beyond<CHUNKS>(at_k, 2 * c));
#pragma unroll
                    for (int m = 0; m < 2; m++) {
                        mma_bf16(s[m][2 * n], KEEP ? kept[KEEP ? c : 0][m] : left[m], right[0], right[1]);
                        mma_bf16(s[m][2 * n + 1], KEEP ? kept[KEEP ? c : 0][m] : left[m], right[2], right[3]);
                    }
                }
            }
        }
        cp_wait<0>();
        // The values are there for all, and all have done with the keys.
        __syncthreads();
        Keys<BN> next = at;
        next.next(spans, tile);
        if (next.more(tile)) copy_rows<D, BN>(keys, k, kv_column, next.key, next.end(spans, tile), kv_stride, d);
        cp_commit();
        if (!met) continue;

        const u32 end = at.end(spans, tile);
        if (at.key + BN > min(end, first + 1)) mask(s, first, at.key, [&](u32 i, u32 j) { return j < end && j <= i; });
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float most = largest[m][h];
#pragma unroll
                for (int n = 0; n < BN / 8; n++) most = fmaxf(most, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
                // Every row attends to the first key of its path, which is in the first tile: finite from there on.
                most = quad_max(most);
                const float before = exp2_fast((largest[m][h] - most) * to_base_2), offset = most * to_base_2;
                largest[m][h] = most;
                float part = 0.f;
#pragma unroll
                for (int n = 0; n < BN / 8; n++)
#pragma unroll
                    for (int e = 2 * h; e < 2 * h + 2; e++) {
                        s[m][n][e] = exp2_fast(fmaf(s[m][n][e], to_base_2, -offset));
                        part += s[m][n][e];
                    }
                total[m][h] = fmaf(total[m][h], before, part);
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    sum[m][n][2 * h] *= before;
                    sum[m][n][2 * h + 1] *= before;
                }
            }
        add_product<D>(sum, s, values, at_v);
    }

    float factor[2][2];
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float l = quad_sum(total[m][h]);
            const u32 row = first + m * 16 + h * 8 + lane / 4;
            factor[m][h] = 1.f / l;
            if (lane % 4 == 0 && row < tile.end) lse[u64(row) * heads + head] = largest[m][h] * scale + logf(l);
        }
    store_sums<D>(o, shared + warp * 32 * ROW, sum, factor, head * d, first, tile.end, stride, d);
}

#define KERNEL(D)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                      \
        attention_tensor_fwd_##D##_bf16(bf16* o, float* lse, const bf16* q, const bf16* k, const bf16* v, const Tile* tiles,      \
                                        const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {                         \
        forward<D>(o, lse, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                                     \
    }
KERNEL(32) KERNEL(64) KERNEL(96) KERNEL(128)
