// RMSNorm (Zhang and Sennrich 2019). With r = 1 / sqrt(mean_c x_c^2 + eps), x^ = x r, g = w dy:
//   rmsnorm       y = w x^, rstd = r
//   rmsnorm_bwd   dx (+)= r (g - x^ mean_c(g x^)), dw += sum over rows of dy x^
//   rmsnorm_jvp   y_dot = w_dot x^ + w r (x_dot - x^ mean_c(x^ x_dot))
// Shapes: x, y, dx, dy, x_dot (rows, c), w, w_dot, dw (1, c), rstd (rows, 1).
// Grid: blocks of (x, y) threads: x go through a row, y rows at once. A thread keeps the first vector of its row in registers; only rows
//   beyond 1024 vectors (in rmsnorm_bwd 512) are read twice. In rmsnorm_bwd a block goes through `per_block` rows and leaves its share of dw in `partial`
//   (blocks, c); rmsnorm_dw adds those.
// Bytes a row, T of 2 bytes: forward 4 c + 4, bwd 6 c + 4 (8 c where it adds) and 8 c / per_block for the partial sums, jvp 6 c + 4. Read
//   again, from the caches: w and w_dot (each row of forward and jvp, each block of bwd).
// Deterministic: the sum of a row is that of each thread's columns in order, then a tree; dw adds the rows of y in steps of blockDim.y, then
//   the y in order, then the blocks: eight strands, then those in order.
// _narrow: rows that are not whole vectors, number by number.
#include "common.cuh"

// Sum over the blockDim.x threads of this y, the same bits in each. `shared` holds 32 floats and is not used again before the next
// barrier but one: two of them take turns.
__device__ __forceinline__ float row_sum(float x, float* shared) {
    x = warp_sum(x);
    const u32 warps = blockDim.x / 32;
    if (warps == 1) return x;
    float* mine = shared + threadIdx.y * warps;
    if (threadIdx.x % 32 == 0) mine[threadIdx.x / 32] = x;
    __syncthreads();
    const u32 lane = threadIdx.x % 32;
    return warp_sum(lane < warps ? mine[lane] : 0.f);
}

template <typename T, int V>
__device__ __forceinline__ void forward(T* y, float* rstd, const T* x, const T* w, u32 rows, u32 c, float eps) {
    typedef Vec<T, V> Pack;
    __shared__ float shared[32];
    const u32 row = blockIdx.x * blockDim.y + threadIdx.y, n = row < rows ? c / V : 0;
    const Pack *from = reinterpret_cast<const Pack*>(x + u64(row) * c), *weight = reinterpret_cast<const Pack*>(w);
    Pack* to = reinterpret_cast<Pack*>(y + u64(row) * c);
    Pack first;
    float sum = 0;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        const Pack a = from[i];
        if (i == threadIdx.x) first = a;
#pragma unroll
        for (int j = 0; j < V; j++) sum = fmaf(to_float(a.x[j]), to_float(a.x[j]), sum);
    }
    const float r = 1.f / sqrtf(row_sum(sum, shared) / float(c) + eps);
    if (threadIdx.x == 0 && row < rows) rstd[row] = r;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        Pack a = i == threadIdx.x ? first : from[i];
        const Pack b = weight[i];
#pragma unroll
        for (int j = 0; j < V; j++) a.x[j] = from_float<T>(to_float(a.x[j]) * r * to_float(b.x[j]));
        to[i] = a;
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
    float sum = 0;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        const Pack a = from[i], b = from_dot[i];
        if (i == threadIdx.x) first = a, first_dot = b;
#pragma unroll
        for (int j = 0; j < V; j++) sum = fmaf(to_float(a.x[j]) * r, to_float(b.x[j]), sum);
    }
    const float mean = row_sum(sum, shared) / float(c);
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
    __shared__ float shared[2][32];
    extern __shared__ float columns[];  // (blockDim.y, V, blockDim.x + PAD)
    constexpr u32 PAD = 32 / V;         // free of bank conflicts
    const u32 n = c / V, tx = threadIdx.x, end = min(rows, (blockIdx.x + 1) * per_block);
    float* own = partial + u64(blockIdx.x) * c;
    Sums* share = reinterpret_cast<Sums*>(own);
    Sums dw;
#pragma unroll
    for (int j = 0; j < V; j++) dw.x[j] = 0;
    for (u32 i = tx + blockDim.x; i < n; i += blockDim.x) share[i] = dw;
    Pack weight;
    if (tx < n) weight = reinterpret_cast<const Pack*>(w)[tx];
    u32 turn = 0;
    // Every thread makes the same number of turns: there is a barrier in each.
    for (u32 first_row = blockIdx.x * per_block; first_row < end; first_row += blockDim.y, turn ^= 1) {
        const u32 row = first_row + threadIdx.y, here = row < end ? n : 0;
        const u64 at = u64(row) * c;
        const Pack *from = reinterpret_cast<const Pack*>(x + at), *d = reinterpret_cast<const Pack*>(dy + at);
        Pack first, first_d;
        const float r = row < end ? rstd[row] : 0.f;
        float sum = 0;
        for (u32 i = tx; i < here; i += blockDim.x) {
            const bool kept = i == tx;
            const Pack a = from[i], b = d[i], u = kept ? weight : reinterpret_cast<const Pack*>(w)[i];
            if (kept) first = a, first_d = b;
            Sums add;
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float hat = to_float(a.x[j]) * r, c = to_float(b.x[j]);
                sum = fmaf(to_float(u.x[j]) * c, hat, sum);
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
        const float mean = row_sum(sum, shared[turn]) / float(c);
        for (u32 i = tx; i < here; i += blockDim.x) {
            const bool kept = i == tx;
            const Pack a = kept ? first : from[i], b = kept ? first_d : d[i], u = kept ? weight : reinterpret_cast<const Pack*>(w)[i];
            Pack* to = reinterpret_cast<Pack*>(dx + at) + i;
            Pack out;
            if (ADD) out = *to;
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float hat = to_float(a.x[j]) * r;
                float value = r * fmaf(-hat, mean, to_float(u.x[j]) * to_float(b.x[j]));
                if (ADD) value += to_float(out.x[j]);
                out.x[j] = from_float<T>(value);
            }
            *to = out;
        }
    }
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
