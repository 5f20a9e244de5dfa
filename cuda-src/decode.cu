// The KV cache, and attention of one new row a sequence over the cache rows of its path.
//   kv_append          keys[slot_i] = k_i, values[slot_i] = v_i
//   attention_decode   o = softmax(q k' scale) v for each row and head; the path is cut into splits of at most SPLIT positions, each a task
//   attention_combine  o of the rows with more than one task, from what their tasks left: unnormalised o, maximum and sum
// Shapes: q, o (n, heads, head_dim), keys and values (cache rows, kv heads, head_dim) of one layer; head_dim up to 128. tasks (row, first piece,
//   end of its pieces, positions), pieces (first cache row, position in the task) of consecutive cache rows, begin (n + 1) each row's tasks.
// Grid: attention_decode (tasks, kv heads x groups of up to G heads that share the key head), 4 warps. As many lanes as a key has vectors of 16
//   bytes (up to a power of two) hold one key; a warp has 4 keys for each such group of lanes in flight, and their values.
// Bytes: 2 sizeof(T) head_dim a position and kv head, once for all G heads (again for each further group: more than 8 heads a kv head), and
//   for each task of a row with several 2 (4 head_dim + 8) a head: the ideal and, 7 heads over 512 positions of 64 in bf16, 2.8%.
// Deterministic: a task's order is fixed by its length; the tasks are added in order. The cut depends on the row's own length only, so its
//   bits do not depend on the rows beside it.
// _narrow: head_dim is not a multiple of a vector; number by number.
#include "common.cuh"

static constexpr u32 SPLIT = 1024, WARPS = 4, KEYS = 4, MAX_DIM = 128;
// The row of no task: there may be more of them than are needed.
static constexpr u32 NONE = ~0u;
// Below any score, and finite: the difference of two of them is a number.
static constexpr float LOWEST = -1e38f;

// e^x; below 2^-126 it is 0.
__device__ __forceinline__ float exp_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
    return y;
}

// V numbers from `at`, as far as there are `count`, then zeros.
template <typename T, int V, bool WHOLE> __device__ __forceinline__ Vec<T, V> load(const T* at, u32 count) {
    Vec<T, V> v;
    if (WHOLE) {
        if (count > 0) v = *reinterpret_cast<const Vec<T, V>*>(at);
        else {
#pragma unroll
            for (int j = 0; j < V; j++) v.x[j] = from_float<T>(0.f);
        }
    } else {
#pragma unroll
        for (int j = 0; j < V; j++) v.x[j] = j < count ? at[j] : from_float<T>(0.f);
    }
    return v;
}

// Where number d of a row of sums lies in shared memory: groups of four change places so that both the 32-byte stores of neighbouring lanes
// and the loads of neighbouring numbers are free of bank conflicts.
__device__ __forceinline__ u32 place(u32 d) { return (d / 4 ^ d / 32 % 2) * 4 + d % 4; }

// Maximum and sum of head g over the warps.
template <int G> __device__ __forceinline__ float2 all_warps(const float2 (&ml)[WARPS][G], u32 g) {
    float2 all = make_float2(LOWEST, 0.f);
#pragma unroll
    for (int w = 0; w < WARPS; w++) all.x = fmaxf(all.x, ml[w][g].x);
#pragma unroll
    for (int w = 0; w < WARPS; w++) all.y = fmaf(ml[w][g].y, exp_fast(ml[w][g].x - all.x), all.y);
    return all;
}

// The scores of a turn, in one of two ways. Both take each lane's share of s = q . k for H heads and KEYS keys, of which the key of `u`
// is there if `there[u]`, and leave p = e^(s - m) in s, m the maximum so far, and what the sums so far are to be multiplied by in `fade`.
//
// Any number of lanes for a key: every lane adds all scores up and works all of them out.
template <int H> struct Whole {
    float m[H], l[H];
    __device__ __forceinline__ Whole() {
#pragma unroll
        for (int g = 0; g < H; g++) m[g] = LOWEST, l[g] = 0;
    }
    __device__ __forceinline__ void turn(float (&s)[H][KEYS], float (&fade)[H], const bool (&there)[KEYS], u32 lanes) {
        for (u32 d = lanes / 2; d > 0; d /= 2) {
#pragma unroll
            for (int g = 0; g < H; g++) {
#pragma unroll
                for (int u = 0; u < KEYS; u++) s[g][u] += __shfl_xor_sync(FULL_MASK, s[g][u], d);
            }
        }
#pragma unroll
        for (int g = 0; g < H; g++) {
            float top = m[g];
#pragma unroll
            for (int u = 0; u < KEYS; u++) {
                if (!there[u]) s[g][u] = NEG_INFINITY;
                top = fmaxf(top, s[g][u]);
            }
            fade[g] = exp_fast(m[g] - top);
            m[g] = top;
            l[g] *= fade[g];
#pragma unroll
            for (int u = 0; u < KEYS; u++) s[g][u] = exp_fast(s[g][u] - top), l[g] += s[g][u];
        }
    }
    __device__ __forceinline__ void end(float (&m)[H], float (&l)[H]) const {
#pragma unroll
        for (int g = 0; g < H; g++) m[g] = this->m[g], l[g] = this->l[g];
    }
};
// LANES for a key, known beforehand: the lanes share the scores out while they add them up, so each is worked out by one lane (or by as
// few as there are more lanes than scores) and then handed to all.
template <int H, int LANES> struct Shared {
    static constexpr int G = H > 4 ? 8 : H, SCORES = G * KEYS;                   // heads and scores, up to a power of two
    static constexpr int OWN = SCORES > LANES ? SCORES / LANES : 1;              // scores that a lane works out, all of one head
    static constexpr int EACH = LANES / G, COPIES = EACH > KEYS ? EACH / KEYS : 1;  // lanes of a head, of a score
    static_assert(EACH > 0, "a lane has one head");
    // Of this lane's head; l of its own scores.
    float m = LOWEST, l = 0;
    __device__ __forceinline__ void turn(float (&s)[H][KEYS], float (&fade)[H], const bool (&there)[KEYS], u32) {
        const u32 lane = threadIdx.x % LANES;
        float x[SCORES];
#pragma unroll
        for (int i = 0; i < SCORES; i++) {
            x[i] = i / KEYS < H ? s[i / KEYS < H ? i / KEYS : 0][i % KEYS] : 0.f;
            if (!there[i % KEYS]) x[i] = NEG_INFINITY;
        }
        int n = SCORES;
#pragma unroll
        for (int d = LANES / 2; d > 0; d /= 2) {
            if (n > 1) {
                n /= 2;
                const bool upper = lane & d;
#pragma unroll
                for (int i = 0; i < SCORES / 2; i++) {
                    if (i < n) {
                        const float keep = upper ? x[i + n] : x[i], give = upper ? x[i] : x[i + n];
                        x[i] = keep + __shfl_xor_sync(FULL_MASK, give, d);
                    }
                }
            } else {
                x[0] += __shfl_xor_sync(FULL_MASK, x[0], d);
            }
        }
        float top = m;
#pragma unroll
        for (int i = 0; i < OWN; i++) top = fmaxf(top, x[i]);
#pragma unroll
        for (int d = EACH / 2; d >= COPIES; d /= 2) top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, d));
        const float mine = exp_fast(m - top);
        m = top;
        l *= mine;
#pragma unroll
        for (int i = 0; i < OWN; i++) x[i] = exp_fast(x[i] - top), l += x[i];
#pragma unroll
        for (int g = 0; g < H; g++) {
            fade[g] = __shfl_sync(FULL_MASK, mine, g * EACH, LANES);
#pragma unroll
            for (int u = 0; u < KEYS; u++) s[g][u] = __shfl_sync(FULL_MASK, x[u % OWN], g * EACH + u / OWN * COPIES, LANES);
        }
    }
    __device__ __forceinline__ void end(float (&m)[H], float (&l)[H]) const {
        float sum = this->l;
#pragma unroll
        for (int d = EACH / 2; d >= COPIES; d /= 2) sum += __shfl_xor_sync(FULL_MASK, sum, d);
#pragma unroll
        for (int g = 0; g < H; g++) {
            m[g] = __shfl_sync(FULL_MASK, this->m, g * EACH, LANES);
            l[g] = __shfl_sync(FULL_MASK, sum, g * EACH, LANES);
        }
    }
};
template <int H, int LANES> struct Softmax {
    typedef Shared<H, LANES> Way;
};
template <int H> struct Softmax<H, 0> {
    typedef Whole<H> Way;
};

// LANES is 0 where only the launch knows.
template <typename T, int G, bool WHOLE, int LANES>
__device__ __forceinline__ void attend(T* o, float* part_o, float2* part_ml, const T* q, const T* keys, const T* values, const uint4* tasks,
                                       const uint2* pieces, const u32* begin, u32 heads, u32 kv_heads, u32 head_dim, u32 launch_lanes,
                                       float scale) {
    constexpr int V = Wide<T>::N;
    const u32 lanes = LANES ? LANES : launch_lanes;
    __shared__ u32 rows[SPLIT];
    __shared__ __align__(16) float sums[WARPS][G][MAX_DIM];
    __shared__ float2 sums_ml[WARPS][G];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 group = heads / kv_heads, parts = (group + G - 1) / G, kv_head = blockIdx.y / parts, part = blockIdx.y % parts;
    const u32 first_head = kv_head * group + part * G, heads_here = min(u32(G), group - part * G);
    const uint4 task = tasks[blockIdx.x];
    const u32 row = task.x, len = task.w;
    if (row == NONE) return;
    for (u32 j = task.y + warp; j < task.z; j += WARPS) {
        const uint2 piece = pieces[j];
        const u32 end = j + 1 < task.z ? pieces[j + 1].y : len;
        for (u32 i = piece.y + lane; i < end; i += 32) rows[i] = piece.x + (i - piece.y);
    }
    // This lane's numbers of a key: `count` of them from `at` on.
    const u32 at = lane % lanes * V, at_once = 32 / lanes, count = at < head_dim ? head_dim - at : 0;
    typename Softmax<G, LANES>::Way softmax;
    float query[G][V], out[G][V];
#pragma unroll
    for (int g = 0; g < G; g++) {
        const Vec<T, V> a = load<T, V, WHOLE>(q + (u64(row) * heads + first_head + g) * head_dim + at, g < heads_here ? count : 0);
#pragma unroll
        for (int j = 0; j < V; j++) query[g][j] = to_float(a.x[j]) * scale, out[g][j] = 0;
    }
    __syncthreads();
    for (u32 first = warp * KEYS * at_once; first < len; first += WARPS * KEYS * at_once) {
        Vec<T, V> k[KEYS], v[KEYS];
        bool there[KEYS];
#pragma unroll
        for (int u = 0; u < KEYS; u++) {
            const u32 p = first + u * at_once + lane / lanes;
            there[u] = p < len;
            const u32 some = there[u] ? count : 0;
            const u64 offset = some ? (u64(rows[p]) * kv_heads + kv_head) * head_dim + at : 0;
            k[u] = load<T, V, WHOLE>(keys + offset, some);
            v[u] = load<T, V, WHOLE>(values + offset, some);
        }
        float s[G][KEYS];
#pragma unroll
        for (int u = 0; u < KEYS; u++) {
#pragma unroll
            for (int g = 0; g < G; g++) s[g][u] = 0;
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float x = to_float(k[u].x[j]);
#pragma unroll
                for (int g = 0; g < G; g++) s[g][u] = fmaf(query[g][j], x, s[g][u]);
            }
        }
        float fade[G];
        softmax.turn(s, fade, there, lanes);
#pragma unroll
        for (int g = 0; g < G; g++) {
#pragma unroll
            for (int j = 0; j < V; j++) out[g][j] *= fade[g];
        }
#pragma unroll
        for (int u = 0; u < KEYS; u++) {
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float x = to_float(v[u].x[j]);
#pragma unroll
                for (int g = 0; g < G; g++) out[g][j] = fmaf(s[g][u], x, out[g][j]);
            }
        }
    }
    // The keys of a warp's groups of lanes, then those of the warps.
    float m[G], l[G];
    softmax.end(m, l);
    for (u32 d = lanes; d < 32; d *= 2) {
#pragma unroll
        for (int g = 0; g < G; g++) {
            const float other_m = __shfl_xor_sync(FULL_MASK, m[g], d), top = fmaxf(m[g], other_m);
            const float mine = exp_fast(m[g] - top), other = exp_fast(other_m - top);
            m[g] = top;
            l[g] = l[g] * mine + __shfl_xor_sync(FULL_MASK, l[g], d) * other;
#pragma unroll
            for (int j = 0; j < V; j++) out[g][j] = out[g][j] * mine + __shfl_xor_sync(FULL_MASK, out[g][j], d) * other;
        }
    }
    if (lane < lanes) {
#pragma unroll
        for (int g = 0; g < G; g++) {
            if (lane == 0) sums_ml[warp][g] = make_float2(m[g], l[g]);
#pragma unroll
            for (int j = 0; j < V; j += 4) {
                *reinterpret_cast<float4*>(&sums[warp][g][place(at + j)]) = make_float4(out[g][j], out[g][j + 1], out[g][j + 2], out[g][j + 3]);
            }
        }
    }
    __syncthreads();
    const bool alone = begin[row + 1] - begin[row] == 1;
    for (u32 i = threadIdx.x; i < heads_here * head_dim; i += WARPS * 32) {
        const u32 g = i / head_dim, d = i % head_dim;
        const float2 ml = all_warps(sums_ml, g);
        const u32 head = first_head + g;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum = fmaf(sums[w][g][place(d)], exp_fast(sums_ml[w][g].x - ml.x), sum);
        if (alone) {
            // Of no keys at all it is 0.
            o[(u64(row) * heads + head) * head_dim + d] = from_float<T>(ml.y == 0.f ? 0.f : sum / ml.y);
        } else {
            part_o[(u64(blockIdx.x) * heads + head) * head_dim + d] = sum;
        }
    }
    if (!alone && threadIdx.x < heads_here) {
        part_ml[u64(blockIdx.x) * heads + first_head + threadIdx.x] = all_warps(sums_ml, threadIdx.x);
    }
}

// Grid (rows, groups of up to COMBINE heads), a warp a head. What the heads' tasks left of maximum and sum is read by the block together,
// 32 tasks at a time: beside each other they fill their sectors.
static constexpr u32 COMBINE = 8;
template <typename T>
__device__ __forceinline__ void combine(T* o, const float* part_o, const float2* part_ml, const u32* begin, u32 heads, u32 head_dim) {
    __shared__ u32 bounds[2];
    // Two tasks of all heads lie in different banks.
    __shared__ float2 ml[COMBINE][34];
    const u32 row = blockIdx.x, first_head = blockIdx.y * COMBINE, here = min(COMBINE, heads - first_head);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = first_head + warp;
    if (threadIdx.x < 2) bounds[threadIdx.x] = begin[row + threadIdx.x];
    __syncthreads();
    const u32 first = bounds[0], end = bounds[1];
    if (end - first == 1) return;
    // Four numbers a lane, neighbours where they are 16 bytes.
    const bool wide = head_dim % 4 == 0;
    float top = LOWEST, total = 0, sum[4] = {};
    for (u32 from = first; from < end; from += 32) {
        const u32 tasks = min(32u, end - from), count = warp < here ? tasks : 0;
        for (u32 i = threadIdx.x; i < tasks * COMBINE; i += blockDim.x) {
            const u32 h = i % COMBINE, t = i / COMBINE;
            if (h < here) ml[h][t] = part_ml[u64(from + t) * heads + first_head + h];
        }
        __syncthreads();
        const float2 mine = lane < count ? ml[warp][lane] : make_float2(LOWEST, 0.f);
        const float before = top;
        top = fmaxf(top, warp_max(mine.x));
        const float fade = exp_fast(before - top), weight = exp_fast(mine.x - top);
        total = fmaf(total, fade, warp_sum(mine.y * weight));
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] *= fade;
#pragma unroll 4
        for (u32 t = 0; t < count; t++) {
            const float of = __shfl_sync(FULL_MASK, weight, t);
            const float* part = part_o + (u64(from + t) * heads + head) * head_dim;
            if (wide) {
                if (4 * lane < head_dim) {
                    const Vec<float, 4> x = *reinterpret_cast<const Vec<float, 4>*>(part + 4 * lane);
#pragma unroll
                    for (int j = 0; j < 4; j++) sum[j] = fmaf(x.x[j], of, sum[j]);
                }
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if (lane + 32 * j < head_dim) sum[j] = fmaf(part[lane + 32 * j], of, sum[j]);
            }
        }
        __syncthreads();
    }
    if (warp >= here) return;
    T* to = o + (u64(row) * heads + head) * head_dim;
    if (wide) {
        Vec<T, 4> x;
#pragma unroll
        for (int j = 0; j < 4; j++) x.x[j] = from_float<T>(sum[j] / total);
        if (4 * lane < head_dim) *reinterpret_cast<Vec<T, 4>*>(to + 4 * lane) = x;
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (lane + 32 * j < head_dim) to[lane + 32 * j] = from_float<T>(sum[j] / total);
    }
}

// A thread a vector; neighbours go on from the end of one row to the next, so that the slots of a warp's rows are of one sector.
template <typename T, int V>
__device__ __forceinline__ void append(T* keys, T* values, const T* k, const T* v, const u32* slots, u32 n, u32 c) {
    typedef Vec<T, V> Pack;
    const u32 vectors = c / V, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const u64 to = u64(slots[i / vectors]) * vectors + i % vectors;
    reinterpret_cast<Pack*>(keys)[to] = reinterpret_cast<const Pack*>(k)[i];
    reinterpret_cast<Pack*>(values)[to] = reinterpret_cast<const Pack*>(v)[i];
}

#define ATTEND(T, S, G, NAME, WHOLE, LANES)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                                    \
    attention_decode_##G##NAME##_##S(T* o, float* part_o, float2* part_ml, const T* q, const T* keys, const T* values, const uint4* tasks,  \
                                     const uint2* pieces, const u32* begin, u32 heads, u32 kv_heads, u32 head_dim, u32 lanes, float scale) { \
        attend<T, G, WHOLE, LANES>(o, part_o, part_ml, q, keys, values, tasks, pieces, begin, heads, kv_heads, head_dim, lanes, scale);     \
    }
#define APPEND(T, S, NAME, V)                                                                                                                \
    extern "C" __global__ void kv_append##NAME##_##S(T* keys, T* values, const T* k, const T* v, const u32* slots, u32 n, u32 c) {           \
        append<T, V>(keys, values, k, v, slots, n, c);                                                                                       \
    }
#define HEADS(M, T, S, NAME, WHOLE, LANES) M(T, S, 1, NAME, WHOLE, LANES) M(T, S, 2, NAME, WHOLE, LANES) M(T, S, 4, NAME, WHOLE, LANES) M(T, S, 8, NAME, WHOLE, LANES)
#define KERNELS(T, S)                                                                                                                        \
    HEADS(ATTEND, T, S, , true, 0) HEADS(ATTEND, T, S, _narrow, false, 0)                                                                    \
    APPEND(T, S, , Wide<T>::N) APPEND(T, S, _narrow, 1)                                                                                      \
    extern "C" __global__ void __launch_bounds__(32 * COMBINE) attention_combine_##S(T* o, const float* part_o, const float2* part_ml, const u32* begin, u32 heads,          \
                                                     u32 head_dim) {                                                                         \
        combine(o, part_o, part_ml, begin, heads, head_dim);                                                                                 \
    }
FOR_BOTH(KERNELS)
// The head widths of most models, and Qwen2.5's groups of 7.
HEADS(ATTEND, bf16, bf16, _of_64, true, 8) ATTEND(bf16, bf16, 7, _of_64, true, 8)
HEADS(ATTEND, bf16, bf16, _of_128, true, 16) ATTEND(bf16, bf16, 7, _of_128, true, 16)
