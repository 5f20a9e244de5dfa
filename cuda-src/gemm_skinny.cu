// Products with few rows, as decoding has them: y (m, n) (+)= x (m, k) w' + bias, w (n, k); y is T, or f32 (acc).
//   m up to 64 in bf16 (tensor cores, the rows of w are the 16 of the tile), up to 16 in f32. k and the rows' strides are multiples of 16 bytes.
// Grid: a block of 8 warps has ROWS rows of w; its warps share k in runs of 256 (bf16) or 512 (f32) bytes, and their sums are added in order.
// Bytes: w once, 16 bytes a lane, straight from memory to registers; x again for every block, from L2 (m / ROWS of w's bytes); y once.
// Deterministic: each warp's runs upward, lanes in a fixed tree, warps in order.
#include "gemm.cuh"
#include "mma.cuh"

constexpr int WARPS = 8;

// Row i, column j of the output = sum (+ bias) (+ what is there).
template <typename C, typename T>
__device__ __forceinline__ void finish(C* y, const T* bias, float sum, u32 i, u32 j, u32 m, u32 n, u32 ldy, bool add) {
    if (i >= m || j >= n) return;
    float x[1] = {sum};
    put(y + u64(i) * ldy, bias, x, j, n, add, false);
}

// 16 bytes, or zeros.
__device__ __forceinline__ uint4 load(const void* p, bool valid) {
    return valid ? __ldg(static_cast<const uint4*>(p)) : make_uint4(0, 0, 0, 0);
}

// W tiles of 16 rows of w by X of 8 rows of x. The k that a lane loads in 16 bytes are not those that mma's fragments name, but
// the same for both factors, and a sum over k does not mind their names.
template <int W, int X>
__device__ __forceinline__ void skinny(void* y, const bf16* x, const bf16* w, const bf16* bias, u32 m, u32 n, u32 k, u32 ldx, u32 ldw, u32 ldy, bool add,
                                       bool wide_out) {
    // Blocks of 32 k that a warp loads at once.
    constexpr int UNROLL = X > 2 ? 2 : 4;
    constexpr int ROWS = W * 16, COLS = X * 8;
    __shared__ float sums[WARPS / 2][COLS][ROWS + 4];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const u32 first = blockIdx.x * ROWS;
    float sum[W][X][4] = {};
    for (u32 k0 = warp * UNROLL * 32; k0 < k; k0 += WARPS * UNROLL * 32) {
        uint4 left[UNROLL][W][2], right[UNROLL][X];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const u32 at = k0 + u * 32 + t * 8;
#pragma unroll
            for (int i = 0; i < W; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const u32 row = first + i * 16 + h * 8 + g;
                    left[u][i][h] = load(w + u64(row) * ldw + at, row < n && at < k);
                }
#pragma unroll
            for (int j = 0; j < X; j++) {
                const u32 row = j * 8 + g;
                right[u][j] = load(x + u64(row) * ldx + at, row < m && at < k);
            }
        }
        // Keeps the loads of a run together before their first use; without it the compiler saves registers and waits for each.
        __syncwarp();
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int i = 0; i < W; i++) {
                const uint4 low = left[u][i][0], high = left[u][i][1];
                const u32 a[4] = {low.x, high.x, low.y, high.y}, b[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
                for (int j = 0; j < X; j++) {
                    mma_bf16(sum[i][j], a, right[u][j].x, right[u][j].y);
                    mma_bf16(sum[i][j], b, right[u][j].z, right[u][j].w);
                }
            }
    }
    // The upper half of the warps, then the lower half on top of it: in half the memory.
#pragma unroll
    for (int half = 1; half >= 0; half--) {
        if (warp / (WARPS / 2) == half) {
#pragma unroll
            for (int i = 0; i < W; i++)
#pragma unroll
                for (int j = 0; j < X; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        float& s = sums[warp % (WARPS / 2)][j * 8 + t * 2 + e % 2][i * 16 + g + e / 2 * 8];
                        s = half == 1 ? sum[i][j][e] : sum[i][j][e] + s;
                    }
        }
        __syncthreads();
    }
    for (u32 at = threadIdx.x; at < ROWS * COLS; at += WARPS * 32) {
        // Neighbouring rows would meet in a bank, every fourth do not.
        const u32 i = at / ROWS, row = i / 8 * 8 + i % 2 * 4 + i % 8 / 2, col = at % ROWS;
        float all = 0.f;
#pragma unroll
        for (int v = 0; v < WARPS / 2; v++) all += sums[v][row][col];
        if (wide_out) {
            finish(static_cast<float*>(y), bias, all, row, first + col, m, n, ldy, add);
        } else {
            finish(static_cast<bf16*>(y), bias, all, row, first + col, m, n, ldy, add);
        }
    }
}

#define SKINNY_BF16(NAME, W, X)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                                       \
        NAME(void* y, const bf16* x, const bf16* w, const bf16* bias, u32 m, u32 n, u32 k, u32 ldx, u32 ldw, u32 ldy, u32 add,     \
             u32 wide_out) {                                                                                                       \
        skinny<W, X>(y, x, w, bias, m, n, k, ldx, ldw, ldy, add, wide_out);                                                        \
    }
SKINNY_BF16(skinny_8_bf16, 1, 1)
SKINNY_BF16(skinny_16_bf16, 1, 2)
SKINNY_BF16(skinny_32_bf16, 2, 4)
SKINNY_BF16(skinny_64_bf16, 2, 8)

__device__ __forceinline__ float4 floats(const float* p, bool valid) {
    const uint4 v = load(p, valid);
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
}

// to[i] = the sum of x[i] over the lanes. Half of what is left goes to the lane across, half comes from there, until a lane has its share.
template <int N> __device__ __forceinline__ void warp_sums(float* to, float (&x)[N]) {
    const u32 lane = threadIdx.x % 32;
    int n = N;
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        if (n == 1) {
            x[0] += __shfl_xor_sync(FULL_MASK, x[0], d);
            continue;
        }
        n /= 2;
        const bool upper = lane & d;
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            if (i >= n) break;
            const float mine = upper ? x[i + n] : x[i], other = upper ? x[i] : x[i + n];
            x[i] = mine + __shfl_xor_sync(FULL_MASK, other, d);
        }
    }
    constexpr int EACH = N > 32 ? N / 32 : 1, SAME = N < 32 ? 32 / N : 1;
    if (lane % SAME == 0) *reinterpret_cast<Vec<float, EACH>*>(to + lane / SAME * EACH) = *reinterpret_cast<const Vec<float, EACH>*>(x);
}

// 8 rows of w by X rows of x; a lane has 4 k of a run.
template <int X>
__device__ __forceinline__ void skinny(float* y, const float* x, const float* w, const float* bias, u32 m, u32 n, u32 k, u32 ldx, u32 ldw, u32 ldy, bool add) {
    constexpr int ROWS = 8, ALL = ROWS * X;
    __shared__ __align__(16) float sums[WARPS][ALL];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 first = blockIdx.x * ROWS;
    float sum[ALL] = {};
    for (u32 at = (warp * 32 + lane) * 4; at < k; at += WARPS * 32 * 4) {
        float4 left[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) left[i] = floats(w + u64(first + i) * ldw + at, first + i < n);
#pragma unroll
        for (int j = 0; j < X; j++) {
            const float4 right = floats(x + u64(j) * ldx + at, j < m);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                float& s = sum[j * ROWS + i];
                s = fmaf(left[i].x, right.x, s);
                s = fmaf(left[i].y, right.y, s);
                s = fmaf(left[i].z, right.z, s);
                s = fmaf(left[i].w, right.w, s);
            }
        }
    }
    warp_sums(sums[warp], sum);
    __syncthreads();
    if (threadIdx.x < ALL) {
        float all = 0.f;
#pragma unroll
        for (int v = 0; v < WARPS; v++) all += sums[v][threadIdx.x];
        finish(y, bias, all, threadIdx.x / ROWS, first + threadIdx.x % ROWS, m, n, ldy, add);
    }
}

#define SKINNY_F32(NAME, X)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                                       \
        NAME(float* y, const float* x, const float* w, const float* bias, u32 m, u32 n, u32 k, u32 ldx, u32 ldw, u32 ldy,          \
             u32 add) {                                                                                                            \
        skinny<X>(y, x, w, bias, m, n, k, ldx, ldw, ldy, add);                                                                     \
    }
SKINNY_F32(skinny_1_f32, 1)
SKINNY_F32(skinny_4_f32, 4)
SKINNY_F32(skinny_16_f32, 16)
