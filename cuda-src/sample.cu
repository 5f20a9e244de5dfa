// From a row of logits to a token, as kernel::sample::Sampler draws it: repetition penalty, temperature, top-k, top-p, min-p, greedy; ties go to
// the lower id.  Weights are e^((z - best) / temperature) in f64.
// The order of a sorted list is never made. What is asked of it is always where its running sum of weights (or of ones) reaches a goal;
// `cut` finds that key from the top of the keys downwards, 4 bits of the keys in a pass over the row.
// Shapes: z (rows, v) f32; draws (n); weights (n, v) f64 and seen (n, ceil(v / 32)) bits are working memory; tokens (n), none is 2^32 - 1.
// Grid: a block of 512 threads a draw; 64 KB of shared memory: a sum for each of 16 buckets and each thread, so that adding needs no atomics.
// Bytes a logit: 12 written and read once, then 12 a pass: 5 passes where nothing is filtered, up to 8 more for each of top-k and top-p; they
// come from L2.  Deterministic: each sum has one order.
#include "philox.cuh"
#include "sums.cuh"

constexpr int THREADS = 512, BUCKETS = 16;
constexpr u32 NONE = 0xffffffffu;
constexpr double LARGEST = 1.7976931348623157e308;

// One draw: a row of z, the counter and key of its random number, and its context's place among all contexts.
struct Draw {
    u32 row, prompt, completion, position, seed_low, seed_high, from, to;
};

// Uniform in [0, 1), 53 bits, from the first two words.
__device__ double uniform(const Draw& d) {
    u32 c[4] = {d.prompt, d.completion, d.position, 0};
    philox(c, d.seed_low, d.seed_high);
    return double((u64(c[0]) << 32 | c[1]) >> 11) * (1. / 9007199254740992.);
}

// Numbers and the keys that sort as they do (-0 below 0). Logits as they are have keys of 32 bits, penalised ones of 64.
template <bool PENALTY> __device__ __forceinline__ u64 key_of(double x) {
    if (PENALTY) {
        const u64 bits = __double_as_longlong(x);
        return bits >> 63 ? ~bits : bits | 1ull << 63;
    }
    const u32 bits = __float_as_uint(float(x));
    return bits >> 31 ? ~bits : bits | 1u << 31;
}
template <bool PENALTY> __device__ __forceinline__ double number_of(u64 key) {
    if (PENALTY) return __longlong_as_double(key >> 63 ? key ^ 1ull << 63 : ~key);
    const u32 k = u32(key);
    return __uint_as_float(k >> 31 ? k ^ 1u << 31 : ~k);
}

// The lower of the keys come last: sums run from the highest key down.
struct Cut {
    u64 key;        // where the running sum reaches the goal
    double above;   // sum of the weights with higher keys
    double inside;  // of those with this key
};

enum Reach { AT_LEAST, ABOVE };

__device__ __forceinline__ bool reaches(Reach how, double sum, double goal) { return how == AT_LEAST ? sum >= goal : sum > goal; }

// Where the sum of `weight` over 0 .. n - 1, in the order of falling `key`, reaches the goal; the last key with a weight where it does
// not. Keys outside low .. high do not count.
template <Reach REACH, typename Key, typename Weight>
__device__ __forceinline__ Cut cut(u32 n, u64 low, u64 high, double goal, Key key, Weight weight, double* shared) {
    double* const sums = shared + BUCKETS * THREADS;
    const u32 t = threadIdx.x, lane = t % 32, warp = t / 32;
    Cut c = {low, 0., 0.};
    for (;;) {
        const int bits = 64 - __clzll(high - low), shift = max(bits - 4, 0);
        for (int b = 0; b < BUCKETS; b++) shared[b * THREADS + t] = 0.;
#pragma unroll 4
        for (u32 i = t; i < n; i += THREADS) {
            const double w = weight(i);
            const u64 k = key(i);
            if (w > 0. && k >= low && k <= high) shared[u32((k - low) >> shift) * THREADS + t] += w;
        }
        __syncthreads();
        double sum = 0.;
#pragma unroll
        for (int j = 0; j < THREADS / 32; j++) sum += shared[warp * THREADS + lane + j * 32];
#pragma unroll
        for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(FULL_MASK, sum, d);
        if (lane == 0) sums[warp] = sum;
        __syncthreads();
        double above = c.above;
        u32 found = 0;
        for (int b = BUCKETS - 1; b >= 0; b--) {
            if (sums[b] == 0.) continue;
            found = b;
            c.above = above;
            c.inside = sums[b];
            above += sums[b];
            if (reaches(REACH, above, goal)) break;
        }
        __syncthreads();
        low += u64(found) << shift;
        high = min(high, low + ((1ull << shift) - 1));
        if (shift == 0) break;
    }
    c.key = low;
    return c;
}

// Which of the tokens that share the key of `c`, each of weight w, reaches the goal: the first is 1. `all` is how many they are.
template <Reach REACH> __device__ __forceinline__ double rank(const Cut& c, double w, double goal, double& all) {
    all = fmax(rint(c.inside / w), 1.);
    double m = fmin(fmax(ceil((goal - c.above) / w), 1.), all);
    while (m > 1. && reaches(REACH, c.above + (m - 1.) * w, goal)) m -= 1.;
    while (m < all && !reaches(REACH, c.above + m * w, goal)) m += 1.;
    return m;
}

// The m-th lowest of the ids 0 .. n - 1 that `weight` counts as 1.
template <typename Weight> __device__ __forceinline__ u32 nth(u32 n, double m, Weight weight, double* shared) {
    const auto key = [](u32 i) { return u64(NONE - i); };
    return NONE - u32(cut<AT_LEAST>(n, NONE - (n - 1), NONE, m, key, weight, shared).key);
}

// A divisor with its reciprocal, rounded to nearest.
struct Divisor {
    double by, inverse;
};

// x / d, rounded to nearest: two corrections by the exact remainder (Markstein 1990). Without the call that a division is.
__device__ __forceinline__ double quotient(double x, const Divisor& d) {
    double q = x * d.inverse;
    q = fma(fma(-q, d.by, x), d.inverse, q);
    return fma(fma(-q, d.by, x), d.inverse, q);
}

// e^((x - best) / temperature); a quotient beyond all numbers is no number, and its exponential 0.
__device__ __forceinline__ double weigh(double x, double best, const Divisor& temperature) {
    return exp(fmax(quotient(x - best, temperature), -1e4));
}

// What a row has above -infinity.
struct Span {
    double best;   // the largest
    u32 at;        // its lowest id
    u32 count;
    u64 low, high; // the keys
    __device__ __forceinline__ void join(const Span& s) {
        if (s.best > best || (s.best == best && s.at < at)) {
            best = s.best;
            at = s.at;
        }
        count += s.count;
        low = min(low, s.low);
        high = max(high, s.high);
    }
    __device__ __forceinline__ Span of(int lane) const {
        return {__shfl_sync(FULL_MASK, best, lane), __shfl_sync(FULL_MASK, at, lane), __shfl_sync(FULL_MASK, count, lane),
                __shfl_sync(FULL_MASK, low, lane), __shfl_sync(FULL_MASK, high, lane)};
    }
};

template <bool PENALTY>
__device__ __forceinline__ u32 draw(const float* row, const Draw& d, const u32* contexts, double* weights, u32* seen, u32 v,
                                    Divisor temperature, u32 top_k, double top_p, double min_p, Divisor penalty, double* shared) {
    const u32 t = threadIdx.x, lane = t % 32, warp = t / 32;
    if (PENALTY) {
        for (u32 i = t; i < (v + 31) / 32; i += THREADS) seen[i] = 0;
        __syncthreads();
        for (u32 i = d.from + t; i < d.to; i += THREADS)
            if (contexts[i] < v) atomicOr(seen + contexts[i] / 32, 1u << contexts[i] % 32);
        __syncthreads();
    }
    const auto number = [&](u32 i) -> double {
        const double x = row[i];
        if (PENALTY && seen[i / 32] >> i % 32 & 1) return x < 0. ? x * penalty.by : x > LARGEST ? x : quotient(x, penalty);
        return x;
    };
    const auto key = [&](u32 i) { return key_of<PENALTY>(number(i)); };

    Span all = {NEG_INFINITY, NONE, 0, ~0ull, 0};
    for (u32 i = t; i < v; i += THREADS) {
        const double x = number(i);
        if (x > NEG_INFINITY) all.join({x, i, 1, key(i), key(i)});
    }
    for (int other = 16; other > 0; other /= 2) all.join(all.of(lane ^ other));
    Span* const spans = reinterpret_cast<Span*>(shared);
    if (lane == 0) spans[warp] = all;
    __syncthreads();
    all = spans[0];
    for (int w = 1; w < THREADS / 32; w++) all.join(spans[w]);
    __syncthreads();
    if (all.count == 0 || temperature.by == 0.) return all.at;
    // Beside an infinite logit no other has a probability, and it is no number.
    if (all.best > LARGEST) return NONE;

    double least = NEG_INFINITY;
    if (top_k > 0 && top_k < all.count) {
        const auto one = [&](u32 i) { return number(i) > NEG_INFINITY ? 1. : 0.; };
        least = number_of<PENALTY>(cut<AT_LEAST>(v, all.low, all.high, top_k, key, one, shared).key);
        all.low = key_of<PENALTY>(least == 0. ? -0. : least);
    }
    double total[1] = {0.};
    for (u32 i = t; i < v; i += THREADS) {
        const double x = number(i);
        const double w = x > NEG_INFINITY && x >= least ? weigh(x, all.best, temperature) : 0.;
        weights[i] = w;
        total[0] += w;
    }
    block_sums(total, shared);
    const auto weight = [&](u32 i) { return weights[i]; };
    const auto at_key = [&](u64 k) { return weigh(number_of<PENALTY>(k), all.best, temperature); };
    const auto tied = [&](u64 k) { return [&, k](u32 i) { return weights[i] > 0. && key(i) == k ? 1. : 0.; }; };

    if (top_p < 1. || min_p > 0.) {
        u64 last = all.low;
        u32 last_id = NONE;
        if (top_p < 1.) {
            const double goal = top_p * total[0];
            const Cut c = cut<AT_LEAST>(v, all.low, all.high, goal, key, weight, shared);
            double ties;
            const double m = rank<AT_LEAST>(c, at_key(c.key), goal, ties);
            last = c.key;
            if (m < ties) last_id = nth(v, m, tied(last), shared);
        }
        total[0] = 0.;
        for (u32 i = t; i < v; i += THREADS) {
            const u64 k = key(i);
            if (!(weights[i] >= min_p && (k > last || (k == last && i <= last_id)))) weights[i] = 0.;
            total[0] += weights[i];
        }
        block_sums(total, shared);
        if (!(total[0] > 0.)) return NONE;
        all.low = last;
    }
    const double at = total[0] * uniform(d);
    if (top_k == 0 && top_p >= 1.) {
        const auto id = [](u32 i) { return u64(NONE - i); };
        return NONE - u32(cut<ABOVE>(v, NONE - (v - 1), NONE, at, id, weight, shared).key);
    }
    const Cut c = cut<ABOVE>(v, all.low, all.high, at, key, weight, shared);
    double ties;
    const double m = rank<ABOVE>(c, at_key(c.key), at, ties);
    return nth(v, m, tied(c.key), shared);
}

#define KERNEL(NAME, PENALTY)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                              \
        NAME(u32* tokens, const float* z, const Draw* draws, const u32* contexts, double* weights, u32* seen, u32 v,                   \
             double temperature, double over_temperature, u32 top_k, double top_p, double min_p, double penalty, double over_penalty) { \
        extern __shared__ double shared[];                                                                                             \
        const Draw d = draws[blockIdx.x];                                                                                              \
        const u32 token = draw<PENALTY>(z + u64(d.row) * v, d, contexts, weights + u64(blockIdx.x) * v,                                \
                                        seen + u64(blockIdx.x) * ((v + 31) / 32), v, {temperature, over_temperature}, top_k, top_p,    \
                                        min_p, {penalty, over_penalty}, shared);                                                       \
        if (threadIdx.x == 0) tokens[blockIdx.x] = token;                                                                              \
    }
KERNEL(sample, false)
KERNEL(sample_penalised, true)
