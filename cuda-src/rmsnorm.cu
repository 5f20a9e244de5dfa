// RMSNorm (Zhang and Sennrich 2019). With r = 1 / sqrt(mean_c x_c^2 + eps), x^ = x r, g = w dy:
//   rmsnorm       y = w x^, rstd = r
//   rmsnorm_bwd   dx (+)= r (g - x^ mean_c(g x^)), dw += sum over rows of dy x^
//   rmsnorm_jvp   y_dot = w_dot x^ + w r (x_dot - x^ mean_c(x^ x_dot))
// Shapes: x, y, dx, dy, x_dot (rows, c), w, w_dot, dw (1, c), rstd (rows, 1).
// Grid: blocks of (x, y) threads: x go through a row, y rows at once, and forward and bwd ROWS of them a thread, whose loads are all under way
//   before the first is used. A thread keeps the first vector of its rows, and of w, in registers; only rows beyond 1024 vectors (in rmsnorm_bwd
//   512) are read twice. In rmsnorm_bwd a block goes through `per_block` rows and leaves its share of dw in `partial` (blocks, c); rmsnorm_dw
//   adds those.
// Bytes a row, T of 2 bytes: forward 4 c + 4, bwd 6 c + 4 (8 c where it adds) and 8 c / per_block for the partial sums, which per_block keeps
//   within 3 % of the rest; jvp 6 c + 4. Read again, from the caches: w once a block of forward and bwd, w and w_dot each row of jvp.
// Deterministic: the sum of a row is that of each thread's columns in order, then a tree; dw adds the rows of y in steps of blockDim.y, then
//   the y in order, then the blocks: eight strands, then those in order.
// _narrow: rows that are not whole vectors, number by number.
#include "common.cuh"

constexpr int ROWS = 4;

// Sums over the blockDim.x threads of this y, the same bits in each. `shared` holds 32 N floats and is not used again before the next
// barrier but one: two of them take turns.
template <int N> __device__ __forceinline__ void row_sums(float (&x)[N], float* shared) {
    const u32 warps = blockDim.x / 32, lane = threadIdx.x % 32;
    float* mine = shared + threadIdx.y * warps;
#pragma unroll
    for (int k = 0; k < N; k++) {
        x[k] = warp_sum(x[k]);
        if (warps > 1 && lane == 0) mine[k * 32 + threadIdx.x / 32] = x[k];
    }
    if (warps == 1) return;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; k++) x[k] = warp_sum(lane < warps ? mine[k * 32 + lane] : 0.f);
}

// This thread's first vector of w (n vectors), which the block reads once; `staged` has room for blockDim.x vectors. A barrier for all.
template <typename Pack> __device__ __forceinline__ Pack first_weight(const Pack* w, u32 n, Pack* staged) {
    if (threadIdx.y == 0 && threadIdx.x < n) staged[threadIdx.x] = w[threadIdx.x];
    __syncthreads();
    Pack weight;
    if (threadIdx.x < n) weight = staged[threadIdx.x];
    return weight;
}

template <typename T, int V>
__device__ __forceinline__ void forward(T* y, float* rstd, const T* x, const T* w, u32 rows, u32 c, float eps) {
    typedef Vec<T, V> Pack;
    __shared__ float shared[ROWS * 32];
    extern __shared__ __align__(16) unsigned char staged[];  // blockDim.x vectors
    const u32 tx = threadIdx.x, n = c / V, first_row = blockIdx.x * ROWS * blockDim.y + threadIdx.y;
    const Pack* weights = reinterpret_cast<const Pack*>(w);
    Pack first[ROWS];
    float sum[ROWS];
    u32 here[ROWS];  // vectors of the row
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        const u32 row = first_row + k * blockDim.y;
        here[k] = row < rows ? n : 0;
        if (tx < here[k]) first[k] = reinterpret_cast<const Pack*>(x + u64(row) * c)[tx];
    }
    const Pack weight = first_weight(weights, n, reinterpret_cast<Pack*>(staged));
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        const Pack* from = reinterpret_cast<const Pack*>(x + u64(first_row + k * blockDim.y) * c);
        sum[k] = 0.f;
        for (u32 i = tx; i < here[k]; i += blockDim.x) {
            const Pack a = i == tx ? first[k] : from[i];
#pragma unroll
            for (int j = 0; j < V; j++) sum[k] = fmaf(to_float(a.x[j]), to_float(a.x[j]), sum[k]);
        }
    }
    row_sums(sum, shared);
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        const u32 row = first_row + k * blockDim.y;
        const Pack* from = reinterpret_cast<const Pack*>(x + u64(row) * c);
        Pack* to = reinterpret_cast<Pack*>(y + u64(row) * c);
        const float r = 1.f / sqrtf(sum[k] / float(c) + eps);
        if (tx == 0 && row < rows) rstd[row] = r;
        for (u32 i = tx; i < here[k]; i += blockDim.x) {
            const bool kept = i == tx;
            Pack a = kept ? first[k] : from[i];
            const Pack b = kept ? weight : weights[i];
#pragma unroll
            for (int j = 0; j < V; j++) a.x[j] = from_float<T>(to_float(a.x[j]) * r * to_float(b.x[j]));
            to[i] = a;
        }
    }
}

template <typename T, int V>
__device__ __forceinline__ void tangent(T* y_dot, const T* x, const T* x_dot, const T* w, const T* w_dot, const float* rstd, u32 rows, u32 c) {
    typedef Vec<T, V> Pack;
    __shared__ float shared[32];
    const u32 row = blockIdx.x * blockDim.y + threadIdx.y, n = row < rows ? c / V : 0;
    const u64 at = u64(row) * c;
    const Pack *from = reinterpret_cast<const Pack*>(x + at), *from_dot = reinterpret_cast<const Pack*>(x_dot + at);
    Pack first, first_dot;
    const float r = row < rows ? rstd[row] : 0.f;
    float sum[1] = {0.f};
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        const Pack a = from[i], b = from_dot[i];
        if (i == threadIdx.x) first = a, first_dot = b;
#pragma unroll
        for (int j = 0; j < V; j++) sum[0] = fmaf(to_float(a.x[j]) * r, to_float(b.x[j]), sum[0]);
    }
    row_sums(sum, shared);
    const float mean = sum[0] / float(c);
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        const bool kept = i == threadIdx.x;
        const Pack a = kept ? first : from[i], b = kept ? first_dot : from_dot[i];
        const Pack u = reinterpret_cast<const Pack*>(w)[i], v = reinterpret_cast<const Pack*>(w_dot)[i];
        Pack out;
#pragma unroll
        for (int j = 0; j < V; j++) {
            const float hat = to_float(a.x[j]) * r;
            out.x[j] = from_float<T>(fmaf(to_float(v.x[j]), hat, to_float(u.x[j]) * r * fmaf(-hat, mean, to_float(b.x[j]))));
        }
        reinterpret_cast<Pack*>(y_dot + at)[i] = out;
    }
}

// A thread's first vector of dw is in registers until the end, the others (then blockDim.y is 1) in `partial`.
template <typename T, int V, bool ADD>
__device__ __forceinline__ void backward(T* dx, float* partial, const T* dy, const T* x, const T* w, const float* rstd, u32 rows, u32 c,
                                         u32 per_block) {
    typedef Vec<T, V> Pack;
    typedef Vec<float, V> Sums;
    __shared__ float shared[2][ROWS * 32];
    extern __shared__ __align__(16) float columns[];  // (blockDim.y, V, blockDim.x + PAD); first the vectors of w
    constexpr u32 PAD = 32 / V;                       // free of bank conflicts
    const u32 n = c / V, tx = threadIdx.x, end = min(rows, (blockIdx.x + 1) * per_block);
    float* own = partial + u64(blockIdx.x) * c;
    Sums* share = reinterpret_cast<Sums*>(own);
    const Pack* weights = reinterpret_cast<const Pack*>(w);
    const Pack weight = first_weight(weights, n, reinterpret_cast<Pack*>(columns));
    Sums dw;
#pragma unroll
    for (int j = 0; j < V; j++) dw.x[j] = 0;
    for (u32 i = tx + blockDim.x; i < n; i += blockDim.x) share[i] = dw;
    u32 turn = 0;
    // Every thread makes the same number of turns: there is a barrier in each.
    for (u32 first_row = blockIdx.x * per_block; first_row < end; first_row += ROWS * blockDim.y, turn ^= 1) {
        Pack first[ROWS], first_d[ROWS];
        float r[ROWS], sum[ROWS];
        u32 here[ROWS];  // vectors of the row
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const u32 row = first_row + k * blockDim.y + threadIdx.y;
            const u64 at = u64(row) * c;
            here[k] = row < end ? n : 0;
            r[k] = row < end ? rstd[row] : 0.f;
            if (tx < here[k]) first[k] = reinterpret_cast<const Pack*>(x + at)[tx], first_d[k] = reinterpret_cast<const Pack*>(dy + at)[tx];
        }
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const u64 at = u64(first_row + k * blockDim.y + threadIdx.y) * c;
            const Pack *from = reinterpret_cast<const Pack*>(x + at), *d = reinterpret_cast<const Pack*>(dy + at);
            sum[k] = 0.f;
            for (u32 i = tx; i < here[k]; i += blockDim.x) {
                const bool kept = i == tx;
                const Pack a = kept ? first[k] : from[i], b = kept ? first_d[k] : d[i], u = kept ? weight : weights[i];
                Sums add;
#pragma unroll
                for (int j = 0; j < V; j++) {
                    const float hat = to_float(a.x[j]) * r[k], c = to_float(b.x[j]);
                    sum[k] = fmaf(to_float(u.x[j]) * c, hat, sum[k]);
                    add.x[j] = c * hat;
                }
                if (kept) {
#pragma unroll
                    for (int j = 0; j < V; j++) dw.x[j] += add.x[j];
                } else {
                    Sums so_far = share[i];
#pragma unroll
                    for (int j = 0; j < V; j++) so_far.x[j] += add.x[j];
                    share[i] = so_far;
                }
            }
        }
        row_sums(sum, shared[turn]);
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const u64 at = u64(first_row + k * blockDim.y + threadIdx.y) * c;
            const Pack *from = reinterpret_cast<const Pack*>(x + at), *d = reinterpret_cast<const Pack*>(dy + at);
            const float mean = sum[k] / float(c);
            for (u32 i = tx; i < here[k]; i += blockDim.x) {
                const bool kept = i == tx;
                const Pack a = kept ? first[k] : from[i], b = kept ? first_d[k] : d[i], u = kept ? weight : weights[i];
                Pack* to = reinterpret_cast<Pack*>(dx + at) + i;
                Pack out;
                if (ADD) out = *to;
#pragma unroll
                for (int j = 0; j < V; j++) {
                    const float hat = to_float(a.x[j]) * r[k];
                    float value = r[k] * fmaf(-hat, mean, to_float(u.x[j]) * to_float(b.x[j]));
                    if (ADD) value += to_float(out.x[j]);
                    out.x[j] = from_float<T>(value);
                }
                *to = out;
            }
        }
    }
    // All have their first vector of w.
    __syncthreads();
    const u32 stride = blockDim.x + PAD;
#pragma unroll
    for (int j = 0; j < V; j++) columns[(threadIdx.y * V + j) * stride + tx] = dw.x[j];
    __syncthreads();
    for (u32 i = threadIdx.y * blockDim.x + tx; i < min(n, blockDim.x) * V; i += blockDim.x * blockDim.y) {
        const float* column = columns + i % V * stride + i / V;
        float total = 0;
        for (u32 y = 0; y < blockDim.y; y++) total += column[y * V * stride];
        own[i] = total;
    }
}

// dw += the rows of `partial` (blocks, c): a column a lane, eight warps with every eighth row each.
extern "C" __global__ void __launch_bounds__(256) rmsnorm_dw(float* dw, const float* partial, u32 blocks, u32 c) {
    __shared__ float shared[8][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = blockIdx.x * 32 + lane;
    float sum = 0;
    if (column < c) {
#pragma unroll 8
        for (u32 i = warp; i < blocks; i += 8) sum += partial[u64(i) * c + column];
    }
    shared[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= c) return;
    float total = dw[column];
#pragma unroll
    for (int i = 0; i < 8; i++) total += shared[i][lane];
    dw[column] = total;
}

#define WIDTHS(T, S, NAME, V)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(1024) rmsnorm##NAME##_##S(T* y, float* rstd, const T* x, const T* w, u32 rows, u32 c, float eps) {               \
        forward<T, V>(y, rstd, x, w, rows, c, eps);                                                                                       \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(512, 1) rmsnorm_bwd##NAME##_##S(T* dx, float* partial, const T* dy, const T* x, const T* w, const float* rstd,     \
                                                       u32 rows, u32 c, u32 per_block) {                                                  \
        backward<T, V, false>(dx, partial, dy, x, w, rstd, rows, c, per_block);                                                           \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(512, 1) rmsnorm_bwd_add##NAME##_##S(T* dx, float* partial, const T* dy, const T* x, const T* w, const float* rstd, \
                                                           u32 rows, u32 c, u32 per_block) {                                              \
        backward<T, V, true>(dx, partial, dy, x, w, rstd, rows, c, per_block);                                                            \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(1024) rmsnorm_jvp##NAME##_##S(T* y_dot, const T* x, const T* x_dot, const T* w, const T* w_dot,                  \
                                                       const float* rstd, u32 rows, u32 c) {                                              \
        tangent<T, V>(y_dot, x, x_dot, w, w_dot, rstd, rows, c);                                                                          \
    }
#define KERNELS(T, S) WIDTHS(T, S, , Wide<T>::N) WIDTHS(T, S, _narrow, 1)
FOR_BOTH(KERNELS)
