// Precision changes and copies of n numbers.
//   narrow: y_i = x_i rounded to nearest even, f32 to T     widen: y_i = x_i, T to f32
//   copy:   y = x. A kernel, so that a decode step is launches alone. Zeroing is the driver's own.
// Shapes: n numbers, any n; x and y aligned to 16 bytes.  Grid: blocks of 256 threads, 4 numbers a thread, in copy 16 bytes.
// Bytes: sizeof x + sizeof y a number, which is the ideal: each is touched once.  Deterministic: no sums.
#include "common.cuh"

template <typename Y, typename X> __device__ __forceinline__ void convert(Y* y, const X* x, u32 n) {
    const u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= n) {
        const Vec<X, 4> in = *reinterpret_cast<const Vec<X, 4>*>(x + i);
        Vec<Y, 4> out;
#pragma unroll
        for (int j = 0; j < 4; j++) out.x[j] = from_float<Y>(to_float(in.x[j]));
        *reinterpret_cast<Vec<Y, 4>*>(y + i) = out;
    } else {
        for (u64 j = i; j < n; j++) y[j] = from_float<Y>(to_float(x[j]));
    }
}

template <typename T> __device__ __forceinline__ void copy(T* y, const T* x, u32 n) {
    typedef typename Wide<T>::V V;
    const u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * Wide<T>::N;
    if (i + Wide<T>::N <= n) {
        *reinterpret_cast<V*>(y + i) = *reinterpret_cast<const V*>(x + i);
    } else {
        for (u64 j = i; j < n; j++) y[j] = x[j];
    }
}

#define KERNELS(T, S)                                                                                             \
    extern "C" __global__ void narrow_##S(T* y, const float* x, u32 n) { convert(y, x, n); }                     \
    extern "C" __global__ void copy_##S(T* y, const T* x, u32 n) { copy(y, x, n); }                             \
    extern "C" __global__ void widen_##S(float* y, const T* x, u32 n) { convert(y, x, n); }
FOR_BOTH(KERNELS)
