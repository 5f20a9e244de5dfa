// Rows picked by an index, and the transpose: rows added by an index.
//   gather (embed is the same):       y_i = x[index_i]
//   scatter_add (embed_bwd too):      y[index_i] += x_i, in the order of i
// Shapes: x, y rows of c numbers.
// Grid: gather has a row of threads for each row, blocks of (x, y) threads of which x stride over the row. scatter_add has a block for each
//   distinct row named, and for each 1024 columns of it; `order` are the i sorted by (index_i, i), `named` the distinct rows, `begin` where
//   the i of each begin in `order`.
// Bytes: gather 2 c sizeof(T) + 4 a row; scatter_add c sizeof(X) + 4 a row of x, 2 c sizeof(Y) + 8 a distinct row: each is touched once,
//   but the few words of `order`, `named` and `begin` by every warp.
// Deterministic: a number of y is the sum of its own, then its x_i in the order of i, in f32, by one thread, rounded once.
// _narrow: rows that are not whole vectors, number by number.
#include "common.cuh"

template <typename T, int V> __device__ __forceinline__ void gather(T* y, const T* x, const u32* index, u32 rows, u32 c) {
    const u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const Vec<T, V>* from = reinterpret_cast<const Vec<T, V>*>(x + u64(index[row]) * c);
    Vec<T, V>* to = reinterpret_cast<Vec<T, V>*>(y + u64(row) * c);
    for (u32 i = threadIdx.x; i < c / V; i += blockDim.x) to[i] = from[i];
}

template <typename Y, typename X, int V>
__device__ __forceinline__ void scatter_add(Y* y, const X* x, const u32* order, const u32* named, const u32* begin, u32 c) {
    const u32 i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= c / V) return;
    const u32 first = begin[blockIdx.x], end = begin[blockIdx.x + 1];
    Vec<Y, V>* at = reinterpret_cast<Vec<Y, V>*>(y + u64(named[blockIdx.x]) * c) + i;
    Vec<Y, V> own = *at;
    float sum[V];
#pragma unroll
    for (int j = 0; j < V; j++) sum[j] = to_float(own.x[j]);
#pragma unroll 4
    for (u32 k = first; k < end; k++) {
        const Vec<X, V> add = reinterpret_cast<const Vec<X, V>*>(x + u64(order[k]) * c)[i];
#pragma unroll
        for (int j = 0; j < V; j++) sum[j] += to_float(add.x[j]);
    }
#pragma unroll
    for (int j = 0; j < V; j++) own.x[j] = from_float<Y>(sum[j]);
    *at = own;
}

#define WIDTHS(T, S, NAME, WIDE, FEW)                                                                                                     \
    extern "C" __global__ void gather##NAME##_##S(T* y, const T* x, const u32* index, u32 rows, u32 c) {                                  \
        gather<T, WIDE>(y, x, index, rows, c);                                                                                            \
    }                                                                                                                                     \
    extern "C" __global__ void scatter_add##NAME##_##S(T* y, const T* x, const u32* order, const u32* named, const u32* begin, u32 c) {   \
        scatter_add<T, T, FEW>(y, x, order, named, begin, c);                                                                             \
    }                                                                                                                                     \
    extern "C" __global__ void embed_bwd##NAME##_##S(float* y, const T* x, const u32* order, const u32* named, const u32* begin, u32 c) { \
        scatter_add<float, T, FEW>(y, x, order, named, begin, c);                                                                         \
    }
#define KERNELS(T, S) WIDTHS(T, S, , Wide<T>::N, 4) WIDTHS(T, S, _narrow, 1, 1)
FOR_BOTH(KERNELS)
