// What every kernel file includes: numbers of both precisions, vectors of 16 bytes, reductions with one fixed order.
#pragma once
#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define FULL_MASK 0xffffffffu
// NVRTC has no math.h.
#define NEG_INFINITY __int_as_float(0xff800000)

// Activations are T (float or bf16), everything is computed in float.
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
// Rounds to nearest even.
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// N numbers that are loaded and stored at once; 16 bytes where N * sizeof(T) is 16.
template <typename T, int N> struct alignas(sizeof(T) * N) Vec {
    T x[N];
};
// Numbers in 16 bytes: 4 floats, 8 bf16.
template <typename T> struct Wide {
    static constexpr int N = 16 / sizeof(T);
    typedef Vec<T, N> V;
};

// Sum over the 32 lanes, the same bits in each: a butterfly.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(FULL_MASK, x, d);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, d));
    return x;
}

// Sum over a block of up to 32 warps, the same bits in every thread. `shared` holds 32 floats and may be used again at once.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    x = warp_sum(lane < warps ? shared[lane] : 0.f);
    __syncthreads();
    return x;
}
__device__ __forceinline__ float block_max(float x, float* shared) {
    x = warp_max(x);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    x = warp_max(lane < warps ? shared[lane] : NEG_INFINITY);
    __syncthreads();
    return x;
}

// Both precisions of a kernel: FOR_BOTH(M) is M(float, f32) M(bf16, bf16).
#define FOR_BOTH(M) M(float, f32) M(bf16, bf16)
