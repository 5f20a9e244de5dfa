// The backward pass of attention of bf16 on tensor cores, the equations and shapes of attention_bwd.cu with d a multiple of 8. Scores and
// sums are f32; p and ds are rounded to bf16 before their products.
//   attention_tensor_stats  stats (N heads, 2) = (lse_i log2 e, delta_i)
//   attention_tensor_dq     a warp has 32 queries: each fragment of k and v is used twice
//   attention_tensor_dkv    a warp has 32 keys, 16 where d > 64; computes s', so that p' and ds' are left factors as they stand in registers
// Grid: stats: a group of lanes a row and head; dq: (tiles of 128 queries, heads); dkv: (tiles of 128 keys, 64 where d > 64, kv_heads); 4 warps.
// Shared memory: the tile's own two matrices, and two stages of the two matrices that it meets.
// Bytes: the tile's own rows once; the rows it meets once for each tile, but for the first time from L2.
// Deterministic, no atomics: each output is one warp's sum, over heads upward and over rows in the order of the spans.
#include "attention_mma.cuh"

constexpr int DQ_QUERIES = 128, DQ_KEYS = 32, DKV_QUERIES = 32;
// Keys of a warp of dkv, in groups of 16: two sums of as many rows stay in registers.
template <int D> constexpr int DKV_GROUPS = D <= 64 ? 2 : 1;

typedef Vec<float, 2> Stats;  // lse log2 e, delta

template <int D>
__device__ __forceinline__ void stats_of(Stats* stats, const bf16* d_o, const bf16* o, const float* lse, u32 rows, u32 d) {
    // Lanes of a row, a power of two.
    constexpr u32 LANES = D == 96 ? 16 : D / 8;
    const u32 row = blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES, col = threadIdx.x % LANES * 8;
    float sum = 0.f;
    if (row < rows && col < d) {
        const u64 at = u64(row) * d + col;
        const Vec<bf16, 8> x = *reinterpret_cast<const Vec<bf16, 8>*>(d_o + at), y = *reinterpret_cast<const Vec<bf16, 8>*>(o + at);
#pragma unroll
        for (int i = 0; i < 8; i++) sum = fmaf(to_float(x.x[i]), to_float(y.x[i]), sum);
    }
#pragma unroll
    for (int i = LANES / 2; i > 0; i /= 2) sum += __shfl_xor_sync(FULL_MASK, sum, i);
    if (row < rows && col == 0) stats[row] = {lse[row] * LOG2_E, sum};
}

template <int D>
__device__ __forceinline__ void dq_of(bf16* dq, const bf16* d_o, const Stats* stats, const bf16* q, const bf16* k, const bf16* v,
                                      const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    constexpr int CHUNKS = D / 8, BM = DQ_QUERIES, BN = DQ_KEYS;
    constexpr u32 ROW = CHUNKS * 16, STAGE = 2 * BN * ROW;
    extern __shared__ __align__(128) unsigned char shared[];
    const u32 queries = shared_address(shared), d_os = queries + BM * ROW, stages = d_os + BM * ROW;
    const Tile tile = tiles[blockIdx.x];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    const u32 stride = heads * d, kv_stride = kv_heads * d, kv_column = head / (heads / kv_heads) * d;
    const u32 own = warp * 32 * ROW, first = tile.start + warp * 32;
    const u32 at_left = swizzle<CHUNKS>(lane % 16, lane / 16), at_right = swizzle<CHUNKS>(lane % 8 + lane / 16 * 8, lane / 8 % 2);

    Keys<BN> at(spans, tile);
    u32 stage = 0;
    auto copy = [&](u32 to, const Keys<BN>& from) {
        if (from.more(tile)) {
            const u32 end = from.end(spans, tile);
            copy_rows<D, BN>(to, k, kv_column, from.key, end, kv_stride, d);
            copy_rows<D, BN>(to + BN * ROW, v, kv_column, from.key, end, kv_stride, d);
        }
        cp_commit();
    };
    copy_rows<D, BM>(queries, q, head * d, tile.start, tile.end, stride, d);
    copy_rows<D, BM>(d_os, d_o, head * d, tile.start, tile.end, stride, d);
    copy(stages, at);

    Stats of[2][2];
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const u32 row = first + m * 16 + h * 8 + lane / 4;
            of[m][h] = row < tile.end ? stats[u64(row) * heads + head] : Stats{0.f, 0.f};
        }
    float sum[2][D / 8][4];
    clear(sum);
    const float to_base_2 = scale * LOG2_E;

    for (; at.more(tile); at.next(spans, tile)) {
        cp_wait<0>();
        // This stage is there for all, and all have done with the other.
        __syncthreads();
        Keys<BN> next = at;
        next.next(spans, tile);
        copy(stages + (stage ^ STAGE), next);
        const u32 keys = stages + stage, values = keys + BN * ROW;
        stage ^= STAGE;
        if (first >= tile.end || at.key >= first + 32) continue;

        float s[2][BN / 8][4], dp[2][BN / 8][4];
        clear(s);
        clear(dp);
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            u32 left[2][4], d_left[2][4];
#pragma unroll
            for (int m = 0; m < 2; m++) {
                const u32 from = own + m * 16 * ROW + beyond<CHUNKS>(at_left, 2 * c);
                ldmatrix_x4(left[m], queries + from);
                ldmatrix_x4(d_left[m], d_os + from);
            }
#pragma unroll
            for (int n = 0; n < BN / 16; n++) {
                const u32 from = n * 16 * ROW + beyond<CHUNKS>(at_right, 2 * c);
                u32 right[4], d_right[4];
                ldmatrix_x4(right, keys + from);
                ldmatrix_x4(d_right, values + from);
#pragma unroll
                for (int m = 0; m < 2; m++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        mma_bf16(s[m][2 * n + h], left[m], right[2 * h], right[2 * h + 1]);
                        mma_bf16(dp[m][2 * n + h], d_left[m], d_right[2 * h], d_right[2 * h + 1]);
                    }
            }
        }
        const u32 end = at.end(spans, tile);
        if (at.key + BN > min(end, first + 1)) mask(s, first, at.key, [&](u32 i, u32 j) { return j < end && j <= i; });
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < BN / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const Stats x = of[m][e / 2];
                    s[m][n][e] = exp2_fast(fmaf(s[m][n][e], to_base_2, -x.x[0])) * (dp[m][n][e] - x.x[1]);
                }
        add_product<D>(sum, s, keys, at_left);
    }
    const float factor[2][2] = {{scale, scale}, {scale, scale}};
    store_sums<D>(dq, shared + own, sum, factor, head * d, first, tile.end, stride, d);
}

// Where a walk over the heads of a group and the queries that meet a tile of keys has got to.
template <int BN> struct Queries {
    u32 head, span, query;

    __device__ __forceinline__ Queries(u32 first_head, const Span* spans, const Tile& t) : head(first_head) { enter(spans, t); }
    __device__ __forceinline__ void enter(const Span* spans, const Tile& t) {
        span = t.first;
        query = max(spans[span].start, t.start);
    }
    __device__ __forceinline__ void next(const Span* spans, const Tile& t) {
        query += BN;
        if (query < spans[span].end) return;
        if (++span < t.last) {
            query = spans[span].start;
        } else {
            head++;
            enter(spans, t);
        }
    }
};

template <int D>
__device__ __forceinline__ void dkv_of(bf16* dk, bf16* dv, const bf16* d_o, const Stats* stats, const bf16* q, const bf16* k, const bf16* v,
                                       const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d, float scale) {
    constexpr int CHUNKS = D / 8, M = DKV_GROUPS<D>, BM = 64 * M, BN = DKV_QUERIES;
    constexpr u32 ROW = CHUNKS * 16, STATS = 2 * BN * ROW, STAGE = STATS + BN * sizeof(Stats);
    // The fragments of few keys stay in registers.
    constexpr bool KEEP = M == 1;
    extern __shared__ __align__(128) unsigned char shared[];
    const u32 keys = shared_address(shared), values = keys + BM * ROW, stages = values + BM * ROW;
    const Tile tile = tiles[blockIdx.x];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, kv_head = blockIdx.y, group = heads / kv_heads;
    const u32 stride = heads * d, kv_stride = kv_heads * d, last_head = (kv_head + 1) * group;
    const u32 own = warp * 16 * M * ROW, first = tile.start + warp * 16 * M;
    const u32 at_left = swizzle<CHUNKS>(lane % 16, lane / 16), at_right = swizzle<CHUNKS>(lane % 8 + lane / 16 * 8, lane / 8 % 2);

    Queries<BN> at(kv_head * group, spans, tile);
    u32 stage = 0;
    auto copy = [&](u32 offset, const Queries<BN>& from) {
        if (from.head < last_head) {
            const u32 end = spans[from.span].end, to = stages + offset;
            copy_rows<D, BN>(to, q, from.head * d, from.query, end, stride, d);
            copy_rows<D, BN>(to + BN * ROW, d_o, from.head * d, from.query, end, stride, d);
            if (threadIdx.x < BN) {
                const u32 row = from.query + threadIdx.x;
                cp_async_8(to + STATS + threadIdx.x * 8, stats + (u64(row) * heads + from.head), row < end);
            }
        }
        cp_commit();
    };
    copy_rows<D, BM>(keys, k, kv_head * d, tile.start, tile.end, kv_stride, d);
    copy_rows<D, BM>(values, v, kv_head * d, tile.start, tile.end, kv_stride, d);
    copy(0, at);

    u32 kept[KEEP ? D / 16 : 1][M][4];
    float sum_k[M][D / 8][4], sum_v[M][D / 8][4];
    clear(sum_k);
    clear(sum_v);
    const float to_base_2 = scale * LOG2_E;
    bool fresh = true;

    for (; at.head < last_head; at.next(spans, tile)) {
        cp_wait<0>();
        // This stage is there for all, and all have done with the other.
        __syncthreads();
        Queries<BN> next = at;
        next.next(spans, tile);
        copy(stage ? 0 : STAGE, next);
        const u32 offset = stage, queries = stages + offset, d_os = queries + BN * ROW;
        stage = stage ? 0 : STAGE;
        if (KEEP && fresh) {
#pragma unroll
            for (int c = 0; c < D / 16; c++) ldmatrix_x4(kept[KEEP ? c : 0][0], keys + own + beyond<CHUNKS>(at_left, 2 * c));
            fresh = false;
        }
        if (first >= tile.end || at.query + BN <= first) continue;

        float s[M][BN / 8][4], dp[M][BN / 8][4];
        clear(s);
        clear(dp);
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            u32 left[M][4], d_left[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
                const u32 from = own + m * 16 * ROW + beyond<CHUNKS>(at_left, 2 * c);
                if (!KEEP) ldmatrix_x4(left[m], keys + from);
                ldmatrix_x4(d_left[m], values + from);
            }
#pragma unroll
            for (int n = 0; n < BN / 16; n++) {
                const u32 from = n * 16 * ROW + beyond<CHUNKS>(at_right, 2 * c);
                u32 right[4], d_right[4];
                ldmatrix_x4(right, queries + from);
                ldmatrix_x4(d_right, d_os + from);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        mma_bf16(s[m][2 * n + h], KEEP ? kept[KEEP ? c : 0][m] : left[m], right[2 * h], right[2 * h + 1]);
                        mma_bf16(dp[m][2 * n + h], d_left[m], d_right[2 * h], d_right[2 * h + 1]);
                    }
            }
        }
        const u32 end = spans[at.span].end;
        if (at.query + BN > end || at.query + 1 < first + 16 * M) mask(s, first, at.query, [&](u32 j, u32 i) { return i < end && j <= i; });
        const unsigned char* rows = shared + 2 * BM * ROW + offset + STATS;
#pragma unroll
        for (int n = 0; n < BN / 8; n++) {
            const Vec<Stats, 2> of = *reinterpret_cast<const Vec<Stats, 2>*>(rows + (n * 8 + lane % 4 * 2) * sizeof(Stats));
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const Stats x = of.x[e % 2];
                    s[m][n][e] = exp2_fast(fmaf(s[m][n][e], to_base_2, -x.x[0]));
                    dp[m][n][e] = s[m][n][e] * (dp[m][n][e] - x.x[1]);
                }
        }
#pragma unroll
        for (int c = 0; c < BN / 16; c++) {
            u32 p[M][4], ds[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
                left_of(p[m], s[m], c);
                left_of(ds[m], dp[m], c);
            }
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                const u32 from = c * 16 * ROW + beyond<CHUNKS>(at_left, 2 * n);
                u32 right[4], d_right[4];
                ldmatrix_x4_trans(right, queries + from);
                ldmatrix_x4_trans(d_right, d_os + from);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        mma_bf16(sum_k[m][2 * n + h], ds[m], right[2 * h], right[2 * h + 1]);
                        mma_bf16(sum_v[m][2 * n + h], p[m], d_right[2 * h], d_right[2 * h + 1]);
                    }
            }
        }
    }
    float of_k[M][2], of_v[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            of_k[m][h] = scale;
            of_v[m][h] = 1.f;
        }
    store_sums<D>(dk, shared + own, sum_k, of_k, kv_head * d, first, tile.end, kv_stride, d);
    store_sums<D>(dv, shared + own, sum_v, of_v, kv_head * d, first, tile.end, kv_stride, d);
}

#define KERNELS(D)                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                         \
        attention_tensor_stats_##D##_bf16(Stats* stats, const bf16* d_o, const bf16* o, const float* lse, u32 rows, u32 d) {      \
        stats_of<D>(stats, d_o, o, lse, rows, d);                                                                                 \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                      \
        attention_tensor_dq_##D##_bf16(bf16* dq, const bf16* d_o, const Stats* stats, const bf16* q, const bf16* k,               \
                                       const bf16* v, const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d,       \
                                       float scale) {                                                                             \
        dq_of<D>(dq, d_o, stats, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                               \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                      \
        attention_tensor_dkv_##D##_bf16(bf16* dk, bf16* dv, const bf16* d_o, const Stats* stats, const bf16* q, const bf16* k,    \
                                        const bf16* v, const Tile* tiles, const Span* spans, u32 heads, u32 kv_heads, u32 d,      \
                                        float scale) {                                                                            \
        dkv_of<D>(dk, dv, d_o, stats, q, k, v, tiles, spans, heads, kv_heads, d, scale);                                          \
    }
KERNELS(32) KERNELS(64) KERNELS(96) KERNELS(128)
