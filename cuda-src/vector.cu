// Elementwise work of the optimizer, and the inner product, on f32.
//   axpy    y += alpha x          scale   x *= alpha
//   adamw   g = grad_scale grad; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = keep p + rate m / (root sqrt(v) + eps), with
//           keep = 1 - lr weight_decay, rate = -lr / (1 - b1^t), root = 1 / sqrt(1 - b2^t): the CPU's operations in the CPU's order
//   dot     sum_i x_i y_i: `dot` leaves a sum for each block, `dot_sum` adds those
// Shapes: n numbers, any n; aligned to 16 bytes.  Grid: blocks of 256 threads; elementwise 4 numbers a thread; dot 8 and, from 1024 blocks on, more.
// Bytes a number: axpy 12, scale 8, adamw 28, dot 8, which is the ideal: each is touched once.
// Deterministic: dot adds in f64, each thread its numbers in order, then the threads in a tree; the blocks likewise.
#include "common.cuh"

typedef Vec<float, 4> V4;

// A vector a thread; the last ones number by number.
#define EACH(CALL)                                                         \
    const u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 4;        \
    if (i + 4 <= n) {                                                      \
        CALL(4, i);                                                        \
    } else {                                                               \
        for (u64 j = i; j < n; j++) CALL(1, j);                            \
    }

template <int V> __device__ __forceinline__ Vec<float, V>& at(float* x, u64 i) { return *reinterpret_cast<Vec<float, V>*>(x + i); }
template <int V> __device__ __forceinline__ const Vec<float, V>& at(const float* x, u64 i) {
    return *reinterpret_cast<const Vec<float, V>*>(x + i);
}

template <int V> __device__ __forceinline__ void axpy_at(float* y, float alpha, const float* x, u64 i) {
    const Vec<float, V> a = at<V>(x, i);
    Vec<float, V> b = at<V>(y, i);
#pragma unroll
    for (int j = 0; j < V; j++) b.x[j] = __fmaf_rn(alpha, a.x[j], b.x[j]);
    at<V>(y, i) = b;
}
extern "C" __global__ void axpy(float* y, float alpha, const float* x, u32 n) {
#define AXPY(V, I) axpy_at<V>(y, alpha, x, I)
    EACH(AXPY)
}

template <int V> __device__ __forceinline__ void scale_at(float* x, float alpha, u64 i) {
    Vec<float, V> a = at<V>(x, i);
#pragma unroll
    for (int j = 0; j < V; j++) a.x[j] *= alpha;
    at<V>(x, i) = a;
}
extern "C" __global__ void scale(float* x, float alpha, u32 n) {
#define SCALE(V, I) scale_at<V>(x, alpha, I)
    EACH(SCALE)
}

struct Adamw {
    float grad_scale, keep, b1, c1, b2, c2, rate, root, eps;
};
template <int V> __device__ __forceinline__ void adamw_at(float* p, float* m, float* v, const float* grad, const Adamw& k, u64 i) {
    const Vec<float, V> g = at<V>(grad, i);
    Vec<float, V> p1 = at<V>(p, i), m1 = at<V>(m, i), v1 = at<V>(v, i);
#pragma unroll
    for (int j = 0; j < V; j++) {
        const float x = __fmul_rn(k.grad_scale, g.x[j]);
        m1.x[j] = __fmaf_rn(k.b1, m1.x[j], __fmul_rn(k.c1, x));
        v1.x[j] = __fmaf_rn(k.b2, v1.x[j], __fmul_rn(k.c2, __fmul_rn(x, x)));
        const float step = __fdiv_rn(m1.x[j], __fmaf_rn(__fsqrt_rn(v1.x[j]), k.root, k.eps));
        p1.x[j] = __fmaf_rn(k.rate, step, __fmul_rn(k.keep, p1.x[j]));
    }
    at<V>(p, i) = p1;
    at<V>(m, i) = m1;
    at<V>(v, i) = v1;
}
extern "C" __global__ void adamw(float* p, float* m, float* v, const float* grad, u32 n, float grad_scale, float keep, float b1, float c1,
                                 float b2, float c2, float rate, float root, float eps) {
    const Adamw k = {grad_scale, keep, b1, c1, b2, c2, rate, root, eps};
#define ADAMW(V, I) adamw_at<V>(p, m, v, grad, k, I)
    EACH(ADAMW)
}

// Sum over a block of 256 threads, in thread 0.
__device__ __forceinline__ double block_total(double x) {
    __shared__ double shared[8];
#pragma unroll
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(FULL_MASK, x, d);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    double sum = shared[0];
#pragma unroll
    for (int w = 1; w < 8; w++) sum += shared[w];
    return sum;
}

extern "C" __global__ void __launch_bounds__(256) dot(double* partial, const float* x, const float* y, u32 n) {
    const u64 step = u64(gridDim.x) * 256 * 4;
    double sum = 0;
#pragma unroll 4
    for (u64 i = (u64(blockIdx.x) * 256 + threadIdx.x) * 4; i < n; i += step) {
        if (i + 4 <= n) {
            const V4 a = at<4>(x, i), b = at<4>(y, i);
#pragma unroll
            for (int j = 0; j < 4; j++) sum += double(a.x[j]) * double(b.x[j]);
        } else {
            for (u64 j = i; j < n; j++) sum += double(x[j]) * double(y[j]);
        }
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256) dot_sum(double* total, const double* partial, u32 blocks) {
    double sum = 0;
    for (u32 i = threadIdx.x; i < blocks; i += 256) sum += partial[i];
    sum = block_total(sum);
    if (threadIdx.x == 0) *total = sum;
}
