// What follows a product whose k was cut into parts, and sums over rows.
//   finish: c (m, n) (+)= sum_p partial_p + bias, partial (parts, m, stride) f32; c is T, or f32 (finish_acc).
//     Grid: ceil(m ceil(n / 4) / 256) blocks of 256 threads, 4 numbers a thread.   Bytes: 4 parts + sizeof c a number: all touched once.
//   column_sums: partial (parts, stride) f32: the sum of x (m, n) over part p of its rows.
//     Grid: (ceil(n / 32 V), parts) blocks of 8 warps, 16 bytes (V numbers) a lane; a warp has every eighth row.   Bytes: sizeof x a number, read once.
// Deterministic: parts, rows and warps are added in order.
#include "gemm.cuh"

template <typename C, typename T>
__device__ __forceinline__ void finish(C* c, const float* partial, const T* bias, u32 parts, u32 m, u32 n, u32 stride, u32 ldc, u32 add) {
    const u32 quads = (n + 3) / 4;
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    const u32 row = at / quads, col = at % quads * 4;
    if (row >= m) return;
    float sum[4] = {0.f, 0.f, 0.f, 0.f};
    for (u32 p = 0; p < parts; p++) {
        const float* from = partial + (u64(p) * m + row) * stride + col;
        if (col + 4 <= n) {
            const Vec<float, 4> v = *reinterpret_cast<const Vec<float, 4>*>(from);
#pragma unroll
            for (int j = 0; j < 4; j++) sum[j] += v.x[j];
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (col + j < n) sum[j] += from[j];
        }
    }
    put(c + u64(row) * ldc, bias, sum, col, n, add, aligned(c, ldc));
}

template <typename T> __device__ __forceinline__ void column_sums(float* partial, const T* x, u32 m, u32 n, u32 ldx, u32 stride) {
    constexpr int V = Wide<T>::N, WARPS = 8;
    // A lane's first four columns, then, 16 banks on, its last four: neither stores nor loads meet.
    constexpr int HALF = 128 + 16;
    __shared__ __align__(16) float shared[WARPS][V / 4 * HALF];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 first = blockIdx.x * 32 * V, col = first + lane * V;
    const bool wide = aligned(x, ldx) && col + V <= n;
    const Range rows = part(m, blockIdx.y, gridDim.y);
    float sum[V] = {};
    for (u32 i = rows.from + warp; i < rows.to; i += WARPS) {
        const T* from = x + u64(i) * ldx + col;
        if (wide) {
            const Vec<T, V> v = *reinterpret_cast<const Vec<T, V>*>(from);
#pragma unroll
            for (int j = 0; j < V; j++) sum[j] += to_float(v.x[j]);
        } else {
#pragma unroll
            for (int j = 0; j < V; j++)
                if (col + j < n) sum[j] += to_float(from[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < V; j += 4) *reinterpret_cast<Vec<float, 4>*>(&shared[warp][j / 4 * HALF + lane * 4]) = {sum[j], sum[j + 1], sum[j + 2], sum[j + 3]};
    __syncthreads();
    for (u32 j = threadIdx.x; j < 32 * V && first + j < n; j += WARPS * 32) {
        float all = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) all += shared[w][j % V / 4 * HALF + j / V * 4 + j % 4];
        partial[u64(blockIdx.y) * stride + first + j] = all;
    }
}

#define KERNELS(T, S)                                                                                                              \
    extern "C" __global__ void finish_##S(T* c, const float* partial, const T* bias, u32 parts, u32 m, u32 n, u32 stride, u32 ldc, \
                                          u32 add) {                                                                               \
        finish(c, partial, bias, parts, m, n, stride, ldc, add);                                                                   \
    }                                                                                                                              \
    extern "C" __global__ void finish_acc_##S(float* c, const float* partial, const T* bias, u32 parts, u32 m, u32 n, u32 stride,  \
                                              u32 ldc, u32 add) {                                                                  \
        finish(c, partial, bias, parts, m, n, stride, ldc, add);                                                                   \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                              \
        column_sums_##S(float* partial, const T* x, u32 m, u32 n, u32 ldx, u32 stride) {                                           \
        column_sums(partial, x, m, n, ldx, stride);                                                                                \
    }
FOR_BOTH(KERNELS)
