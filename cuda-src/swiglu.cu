// The gated feed-forward nonlinearity (Shazeer 2020), s = 1 / (1 + e^-gate):
//   swiglu       y = gate s up
//   swiglu_bwd   d_gate = dy up s (1 + gate (1 - s)), d_up = dy gate s
//   swiglu_jvp   y_dot = gate_dot up s (1 + gate (1 - s)) + gate s up_dot
// Shapes: n numbers each, any n; aligned to 16 bytes.  Grid: blocks of 256 threads, 16 bytes of each input a thread.
// Bytes: 3 sizeof(T) a number forward, 5 in bwd and jvp, which is the ideal: each is touched once.  Deterministic: no sums.
#include "common.cuh"

// Of e^-a = infinity (a below -88) it makes 0.
__device__ __forceinline__ float sigmoid(float a) { return __fdividef(1.f, 1.f + expf(-a)); }
// d (a s) / d a
__device__ __forceinline__ float slope(float a, float s) { return s * fmaf(a, 1.f - s, 1.f); }

template <int V, typename T> __device__ __forceinline__ Vec<T, V> load(const T* x) { return *reinterpret_cast<const Vec<T, V>*>(x); }
template <int V, typename T> __device__ __forceinline__ void store(T* x, const Vec<T, V>& v) { *reinterpret_cast<Vec<T, V>*>(x) = v; }

template <int V, typename T> __device__ __forceinline__ void forward(T* y, const T* gate, const T* up, u64 at) {
    const Vec<T, V> g = load<V>(gate + at), u = load<V>(up + at);
    Vec<T, V> out;
#pragma unroll
    for (int j = 0; j < V; j++) {
        const float a = to_float(g.x[j]);
        out.x[j] = from_float<T>(a * sigmoid(a) * to_float(u.x[j]));
    }
    store<V>(y + at, out);
}

template <int V, typename T>
__device__ __forceinline__ void backward(T* d_gate, T* d_up, const T* dy, const T* gate, const T* up, u64 at) {
    const Vec<T, V> d = load<V>(dy + at), g = load<V>(gate + at), u = load<V>(up + at);
    Vec<T, V> dg, du;
#pragma unroll
    for (int j = 0; j < V; j++) {
        const float a = to_float(g.x[j]), s = sigmoid(a), c = to_float(d.x[j]);
        dg.x[j] = from_float<T>(c * to_float(u.x[j]) * slope(a, s));
        du.x[j] = from_float<T>(c * (a * s));
    }
    store<V>(d_gate + at, dg);
    store<V>(d_up + at, du);
}

template <int V, typename T>
__device__ __forceinline__ void tangent(T* y_dot, const T* gate, const T* gate_dot, const T* up, const T* up_dot, u64 at) {
    const Vec<T, V> g = load<V>(gate + at), gd = load<V>(gate_dot + at), u = load<V>(up + at), ud = load<V>(up_dot + at);
    Vec<T, V> out;
#pragma unroll
    for (int j = 0; j < V; j++) {
        const float a = to_float(g.x[j]), s = sigmoid(a);
        out.x[j] = from_float<T>(fmaf(to_float(gd.x[j]) * to_float(u.x[j]), slope(a, s), a * s * to_float(ud.x[j])));
    }
    store<V>(y_dot + at, out);
}

// A vector a thread; the last ones number by number.
#define EACH(T, CALL)                                                             \
    constexpr int V = Wide<T>::N;                                                 \
    const u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * V;               \
    if (i + V <= n) {                                                             \
        CALL(V, i);                                                               \
    } else {                                                                      \
        for (u64 j = i; j < n; j++) CALL(1, j);                                   \
    }

#define FORWARD(V, AT) forward<V>(y, gate, up, AT)
#define BACKWARD(V, AT) backward<V>(d_gate, d_up, dy, gate, up, AT)
#define TANGENT(V, AT) tangent<V>(y_dot, gate, gate_dot, up, up_dot, AT)
#define KERNELS(T, S)                                                                                                                       \
    extern "C" __global__ void swiglu_##S(T* y, const T* gate, const T* up, u32 n) { EACH(T, FORWARD) }                                     \
    extern "C" __global__ void swiglu_bwd_##S(T* d_gate, T* d_up, const T* dy, const T* gate, const T* up, u32 n) { EACH(T, BACKWARD) }     \
    extern "C" __global__ void swiglu_jvp_##S(T* y_dot, const T* gate, const T* gate_dot, const T* up, const T* up_dot, u32 n) {            \
        EACH(T, TANGENT)                                                                                                                    \
    }
FOR_BOTH(KERNELS)
