// Sums over a block in f64.
#pragma once
#include "common.cuh"

// Sums of N numbers over a block of whole warps, in one order, the same bits in every thread. `shared` holds 32 N numbers and may be
// used again at once.
template <int N> __device__ __forceinline__ void block_sums(double (&x)[N], double* shared) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int i = 0; i < N; i++) {
#pragma unroll
        for (int d = 16; d > 0; d /= 2) x[i] += __shfl_xor_sync(FULL_MASK, x[i], d);
        if (lane == 0) shared[i * 32 + warp] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = lane < warps ? shared[i * 32 + lane] : 0.;
#pragma unroll
        for (int d = 16; d > 0; d /= 2) x[i] += __shfl_xor_sync(FULL_MASK, x[i], d);
    }
    __syncthreads();
}
