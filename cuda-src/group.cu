// The group policy's loss (kernel::objective::group) of every completion, with its gradient and its statistics.
//   loss = scale sum_t (factor_t policy(w_t, A_t, logp_t) + beta KL_t) - entropy_coef / entropy_tokens sum_t entropy_t     over masked tokens t
// Shapes: per token, N in all: logp, advantage, mask (bytes), and where given entropy, old, reference, sampler; dlogp, and where given dentropy.
//   starts (completions + 1): completion i has the tokens starts[i] .. starts[i + 1] - 1.  outcomes (completions, 6) f64: loss, kl, clipped
//   below, clipped above, tokens, phi.
// Grid: a block of 256 threads a completion. A first pass over its mask, and its tokens where the loss needs a sum over the completion; and a
// last one where the ratio is of the completion: they read from L2. The mask is read once, a bit a token in a register, up to 16384 tokens a
// completion.
// Bytes a token: 4 for each number given, 1 for the mask, 4 written: 21 with old and reference.  All arithmetic is f64, as the kernel crate's: it takes
// twice as long as the bytes, some microseconds for a hundred thousand tokens.
// Deterministic: one order of each sum.
#include "sums.cuh"
#include "surrogate.cuh"

// The settings, all f64 (enumerations as 0, 1, 2 ...); the host fills them in this order.
struct Settings {
    double loss, first, second;      // which, and its own numbers: max_completion_length; tau where A > 0 and elsewhere
    double beta, epsilon, epsilon_high, delta, off_policy;  // the last two infinite for none
    double entropy_coef, level, kl_correction, correction, cap;
    double completions, tokens, entropy_threshold, entropy_tokens;
};
enum Loss { GRPO, BNPO, DR_GRPO, DAPO, LUSPO, CISPO, SAPO, VESPO };
enum Correction { NO_CORRECTION, TOKEN_TRUNCATE, SEQUENCE_MASK };

struct Tokens {
    const float *logp, *advantage, *entropy, *old, *reference, *sampler;
};

// The block's completion, tokens from .. to, and which of them count. `bounds` is shared; a barrier for all.
struct Completion {
    u64 from, to;
    const unsigned char* mask;
    u64 kept;  // a bit for each of the thread's first 64 tokens, so that a second pass does not read them

    __device__ __forceinline__ Completion(const u32* starts, const unsigned char* mask, u32* bounds) : mask(mask), kept(0) {
        if (threadIdx.x < 2) bounds[threadIdx.x] = starts[blockIdx.x + threadIdx.x];
        __syncthreads();
        from = bounds[0];
        to = bounds[1];
    }
    // The thread's token number `turn` is t: in the first pass, and after it.
    __device__ __forceinline__ bool first(u32 turn, u64 t) {
        const bool counts = mask[t] != 0;
        if (turn < 64) kept |= u64(counts) << turn;
        return counts;
    }
    __device__ __forceinline__ bool again(u32 turn, u64 t) const { return turn < 64 ? kept >> turn & 1 : mask[t] != 0; }
};

// Sums over a completion.
struct Sequence {
    double tokens, len, mean_log_ratio, log_w, log_correction;
};

constexpr double LOG_W_LOW = -18.420680743952367, LOG_W_HIGH = 20.;

struct Token {
    double value, through_ratio, direct, kl, ratio;
    bool uncertain;
};

struct Group {
    const Settings& s;
    const Tokens& x;

    __device__ __forceinline__ bool is(Loss loss) const { return s.loss == double(loss); }

    // log of the token's truncated weight of the old policy over the sampler.
    __device__ __forceinline__ double log_token(u64 t) const {
        const double ell = log_ratio(x.old ? x.old : x.logp, x.sampler, t);
        return s.correction == TOKEN_TRUNCATE ? bound(ell, -INFINITE, log(s.cap)) : 0.;
    }

    __device__ __forceinline__ double vespo(const Sequence& q, double advantage) const {
        const double k = advantage >= 0. ? 2. : 3., lam = advantage >= 0. ? 3. : 2.;
        return bounded_exp(lam + k * q.log_w - lam * bounded_exp(q.log_w));
    }

    __device__ __forceinline__ double scale(double len) const {
        if (is(GRPO) || is(SAPO)) return 1. / (len * s.completions);
        if (is(DR_GRPO)) return 1. / (s.completions * s.first);
        if (is(LUSPO)) return 1. / s.completions;
        return 1. / s.tokens;
    }

    __device__ __forceinline__ double factor(const Sequence& q, u64 t) const {
        if (is(VESPO) || !x.sampler || s.correction == NO_CORRECTION) return 1.;
        if (s.correction == TOKEN_TRUNCATE) return bounded_exp(log_token(t));
        const double w = bounded_exp(q.log_correction);
        return w > s.cap ? 0. : w;
    }

    __device__ __forceinline__ Token token(const Sequence& q, u64 t) const {
        const double logp = x.logp[t], advantage = x.advantage[t];
        const bool uncertain = s.entropy_threshold == -INFINITE || double(x.entropy[t]) >= s.entropy_threshold;
        const Slope w = ratio_of(s.level == 0. ? log_ratio(x.logp, x.old, t) : q.mean_log_ratio);
        Token o = {0., 0., 0., 0., w.v, uncertain};
        if (is(CISPO) || is(VESPO)) {
            const double weight = is(CISPO) ? w.clamp(-INFINITE, s.epsilon_high).v : vespo(q, advantage);
            o.value = -weight * advantage * logp;
            o.direct = -weight * advantage;
        } else if (is(SAPO)) {
            const double tau = advantage > 0. ? s.first : s.second, y = tau * (w.v - 1.);
            o.value = -4. / tau * sigmoid(y) * advantage;
            o.through_ratio = -4. * sigmoid(y) * sigmoid(-y) * w.d * advantage;
        } else {
            const Slope capped = w.clamp(-INFINITE, s.delta).scale(advantage);
            const Slope gain = capped.least(w.clamp(1. - s.epsilon, 1. + s.epsilon_high).scale(advantage));
            o.value = -gain.v;
            o.through_ratio = -gain.d;
        }
        const bool off_policy = advantage < 0. && -q.mean_log_ratio > s.off_policy;
        const double f = uncertain && !off_policy ? factor(q, t) : 0.;
        o.value *= f;
        o.through_ratio *= f;
        o.direct *= f;
        if (s.beta != 0.) {
            // r = reference / policy: k3 = r - 1 - log r.
            const double y = double(x.reference[t]) - logp;
            const Slope r = ratio_of(y);
            const double k3 = r.v - 1. - y, dk3 = 1. - r.d;
            const bool plain = s.kl_correction == 0.;
            o.kl = plain ? k3 : k3 * w.v;
            o.value += s.beta * o.kl;
            o.through_ratio += s.beta * (plain ? 0. : k3 * w.d);
            o.direct += s.beta * (plain ? dk3 : dk3 * w.v);
        }
        return o;
    }

    // Whether the ratio counts as clipped below, above.
    __device__ __forceinline__ bool low(double w, double advantage) const {
        return s.loss < double(CISPO) && w < 1. - s.epsilon && advantage < 0.;
    }
    __device__ __forceinline__ bool high(double w, double advantage) const {
        if (is(SAPO) || is(VESPO)) return false;
        return w > (is(CISPO) ? s.epsilon_high : 1. + s.epsilon_high) && advantage > 0.;
    }
};

// The sums; none but the number of tokens where the loss needs no other, so that logp is read once.
__device__ __forceinline__ Sequence sequence(const Group& g, Completion& own, double* shared) {
    double sums[5] = {0., 0., 0., 0., 0.};
    const Tokens& x = g.x;
    const bool more = g.s.level != 0. || g.s.off_policy != INFINITE || g.is(VESPO) || g.s.correction == SEQUENCE_MASK;
    u32 turn = 0;
    for (u64 t = own.from + threadIdx.x; t < own.to; t += blockDim.x) {
        if (!own.first(turn++, t)) continue;
        sums[0] += 1.;
        if (!more) continue;
        const double ell = log_ratio(x.logp, x.old, t);
        sums[1] += ell;
        sums[2] += bound(ell, -20., 20.);
        if (x.sampler) {
            sums[3] += log_ratio(x.old ? x.old : x.logp, x.sampler, t);
            sums[4] += bound(g.log_token(t), LOG_W_LOW, LOG_W_HIGH);
        }
    }
    block_sums(sums, shared);
    const double len = fmax(sums[0], 1.);
    return {sums[0], len, sums[1] / len, bound(sums[2] + sums[4], LOG_W_LOW, LOG_W_HIGH), sums[3]};
}

extern "C" __global__ void __launch_bounds__(256)
    group_loss(float* dlogp, float* dentropy, double* outcomes, const double* settings, const u32* starts, const float* logp,
               const float* advantage, const unsigned char* mask, const float* entropy, const float* old, const float* reference,
               const float* sampler) {
    __shared__ double shared[5 * 32];
    __shared__ Settings s;
    __shared__ u32 bounds[2];
    if (threadIdx.x < sizeof(Settings) / 8) reinterpret_cast<double*>(&s)[threadIdx.x] = settings[threadIdx.x];
    Completion own(starts, mask, bounds);
    const Tokens x = {logp, advantage, entropy, old, reference, sampler};
    const Group g = {s, x};
    const u64 from = own.from, to = own.to;
    const Sequence q = sequence(g, own, shared);
    const double scale = g.scale(q.len);
    const bool by_token = s.level == 0.;
    double sums[5] = {0., 0., 0., 0., 0.};  // loss, kl, through the ratio, clipped below, above
    u32 turn = 0;
    for (u64 t = from + threadIdx.x; t < to; t += blockDim.x) {
        float d = 0.f, e = 0.f;
        if (own.again(turn++, t)) {
            const Token o = g.token(q, t);
            sums[0] += scale * o.value;
            sums[1] += o.kl / s.tokens;
            sums[2] += scale * o.through_ratio;
            d = float(scale * (o.direct + o.through_ratio));
            if (s.entropy_coef != 0. && o.uncertain) {
                const double slope = -s.entropy_coef / s.entropy_tokens;
                sums[0] += slope * double(entropy[t]);
                e = float(slope);
            }
            sums[3] += g.low(o.ratio, advantage[t]) ? 1. : 0.;
            sums[4] += g.high(o.ratio, advantage[t]) ? 1. : 0.;
        }
        if (by_token) dlogp[t] = d;
        if (dentropy) dentropy[t] = e;
    }
    block_sums(sums, shared);
    if (!by_token) {
        // Not one rounding: two large numbers that cancel do so to 0.
        turn = 0;
        for (u64 t = from + threadIdx.x; t < to; t += blockDim.x)
            dlogp[t] = own.again(turn++, t) ? float(__dadd_rn(__dmul_rn(scale, g.token(q, t).direct), sums[2] / q.len)) : 0.f;
    }
    // Every thread has the sums; six write them at once.
    if (threadIdx.x < 6) {
        const double phi = g.is(VESPO) && from < to ? g.vespo(q, advantage[from]) : 0.;
        const double of[6] = {sums[0], sums[1], sums[3], sums[4], q.tokens, phi};
        double mine = of[0];
#pragma unroll
        for (u32 i = 1; i < 6; i++) mine = threadIdx.x == i ? of[i] : mine;
        outcomes[u64(blockIdx.x) * 6 + threadIdx.x] = mine;
    }
}

// REINFORCE leave-one-out (kernel::objective::rloo): -min(w A, clip(w) A) / completions with w = exp(sum_t (logp - old)); advantage (completions).
// outcomes (completions, 3): loss, clipped below, clipped above.
extern "C" __global__ void __launch_bounds__(256)
    rloo_loss(float* dlogp, double* outcomes, const u32* starts, const float* logp, const float* advantage, const unsigned char* mask,
              const float* old, double epsilon, double epsilon_high, double completions) {
    __shared__ double shared[32];
    __shared__ u32 bounds[2];
    Completion own(starts, mask, bounds);
    const u64 from = own.from, to = own.to;
    double ell[1] = {0.};
    u32 turn = 0;
    for (u64 t = from + threadIdx.x; t < to; t += blockDim.x)
        if (own.first(turn++, t)) ell[0] += log_ratio(logp, old, t);
    block_sums(ell, shared);
    const double a = advantage[blockIdx.x];
    const Slope w = ratio_of(ell[0]), gain = clipped(w, a, epsilon, epsilon_high);
    const float d = float(-gain.d / completions);
    turn = 0;
    for (u64 t = from + threadIdx.x; t < to; t += blockDim.x) dlogp[t] = own.again(turn++, t) ? d : 0.f;
    if (threadIdx.x == 0) {
        double* out = outcomes + u64(blockIdx.x) * 3;
        out[0] = -gain.v / completions;
        out[1] = (w.v < 1. - epsilon && a < 0. ? 1. : 0.) / completions;
        out[2] = (w.v > 1. + epsilon_high && a > 0. ? 1. : 0.) / completions;
    }
}
