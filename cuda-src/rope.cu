// The rotary position embedding (Su et al. 2021), pairs half a head apart: (a, b) = (x_i, x_{i + D/2}) of each head becomes
// (a cos - b sin, b cos + a sin), in place; with sign = -1 it turns back.
// Shapes: x (rows, heads D), table (positions, D) of D/2 cosines, then D/2 sines; D even.
// Grid: a warp a row, 8 a block. A lane has 4 pairs of a head and goes through the heads with the same angles.
// Bytes: 2 sizeof(T) heads D + 4 a row, which is the ideal, and the row of the table, 4 D, once for all heads of the row
//   (rows of the same position read it again, from L2).
// Deterministic: no sums.  _narrow: heads that are not whole vectors, pair by pair.
#include "common.cuh"

template <typename T, int V>
__device__ __forceinline__ void rope(T* x, const float* table, const u32* positions, u32 rows, u32 heads, u32 head_dim, u32 lanes, float sign) {
    const u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    // `lanes` of the warp go through a head, this many heads at a time.
    const u32 half = head_dim / 2, chunks = half / V, at_once = 32 / lanes;
    if (lane / lanes >= at_once) return;
    const float* angles = table + u64(positions[row]) * head_dim;
    for (u32 chunk = lane % lanes; chunk < chunks; chunk += lanes) {
        const Vec<float, V> cos = reinterpret_cast<const Vec<float, V>*>(angles)[chunk];
        Vec<float, V> sin = reinterpret_cast<const Vec<float, V>*>(angles + half)[chunk];
#pragma unroll
        for (int j = 0; j < V; j++) sin.x[j] *= sign;
#pragma unroll 4
        for (u32 head = lane / lanes; head < heads; head += at_once) {
            T* at = x + (u64(row) * heads + head) * head_dim;
            Vec<T, V>*a = reinterpret_cast<Vec<T, V>*>(at) + chunk, *b = reinterpret_cast<Vec<T, V>*>(at + half) + chunk;
            Vec<T, V> u = *a, v = *b;
#pragma unroll
            for (int j = 0; j < V; j++) {
                const float p = to_float(u.x[j]), q = to_float(v.x[j]);
                u.x[j] = from_float<T>(p * cos.x[j] - q * sin.x[j]);
                v.x[j] = from_float<T>(q * cos.x[j] + p * sin.x[j]);
            }
            *a = u;
            *b = v;
        }
    }
}

#define ARGS(T) T *x, const float *table, const u32 *positions, u32 rows, u32 heads, u32 head_dim, u32 lanes, float sign
#define KERNELS(T, S)                                                                                                           \
    extern "C" __global__ void rope_##S(ARGS(T)) { rope<T, 4>(x, table, positions, rows, heads, head_dim, lanes, sign); }              \
    extern "C" __global__ void rope_narrow_##S(ARGS(T)) { rope<T, 1>(x, table, positions, rows, heads, head_dim, lanes, sign); }
FOR_BOTH(KERNELS)
