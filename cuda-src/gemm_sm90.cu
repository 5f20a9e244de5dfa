// The products of gemm_bf16.cu for compute capability 9.0: the same equations, arguments of meaning and parts, with TMA and wgmma. Rows of both factors
// begin at multiples of 16 bytes, and no size is 0; the others go to gemm_bf16.cu.
//   gemm_nt: a (m, k), b (n, k)   y = x w' and logits      gemm_nn: a (m, k), b (k, n)   dx = dy w      gemm_tn: a (k, m), b (k, n)   dw += dy' x
// `twice`: k is gone through once more with a_low in the place of a: the left factor is a + a_low. Without it a_low is not looked at.
// Tiles of c are 128 x 256, or 128 x 128 (names with _128), which fill the device where c is small.
// Grid: (ceil(m / 128) ceil(n / 256), parts) blocks of 9 warps: two warpgroups with 64 rows of the tile each, and one warp of which one thread issues the
// copies. 192 (128) KB of shared memory, 4 stages of 128 x 64 of a and 256 (128) x 64 of b; after the last the sums pass through it to 16-byte stores.
// Bytes: a is read ceil(n / 256) times and b ceil(m / 128) times, but for the first time from L2; c written once (and read where added to).
// Shared memory: a step moves 48 KB in and wgmma reads 80 KB, 1024 clocks at 128 bytes each, as long as the tensor cores take for it; with 128 columns
// 32 KB and 48 KB, 640 clocks against 512.
// Deterministic: k goes upward in steps of 16 in one accumulator; parts are fixed by the shape.
#include "gemm.cuh"
#include "sm90.cuh"

constexpr int BM = 128, BK = 64, STAGES = 4, CONSUMERS = 256, THREADS = CONSUMERS + 32;
// Bytes of the tile of a, and of a box of 64 x 64.
constexpr u32 TILE_A = BM * BK * 2, BOX = 64 * 64 * 2;

// How a factor lies in memory: its rows along k (a of nt and nn, b of nt), or rows of the m (n) index for each k.
enum Along { ALONG_K, ALONG_M };

// Copies the tile of a factor from row (column) m0 and k0 on: one box of all its rows, or a box for each 64 of them.
template <Along ALONG, int ROWS> __device__ __forceinline__ void load(u32 to, const TensorMap* map, u32 m0, u32 k0, u32 barrier) {
    if (ALONG == ALONG_K) {
        copy_box(to, map, k0, m0, barrier);
    } else {
#pragma unroll
        for (u32 i = 0; i < ROWS / 64; i++) copy_box(to + i * BOX, map, m0 + i * 64, k0, barrier);
    }
}

template <Along A, Along B, int BN>
__device__ __forceinline__ void gemm(void* c, const TensorMap* a, const TensorMap* a_low, const TensorMap* b, const bf16* bias, u32 m, u32 n, u32 k,
                                     u32 ldc, u32 add, u32 wide_out, u32 twice) {
    extern __shared__ __align__(1024) unsigned char shared[];
    constexpr u32 STAGE = TILE_A + BN * BK * 2;
    const u32 base = shared_address(shared);
    // The mbarriers of a stage, behind the last one: `full` when the copies are there, `empty` when all warps have multiplied.
    auto full = [&](u32 s) { return base + STAGES * STAGE + s * 16; };
    auto empty = [&](u32 s) { return full(s) + 8; };
    const Tile t = tile<BM, BN>(blockIdx.x, m, n);
    const u32 once = (k + BK - 1) / BK;
    const Range steps = part(twice ? 2 * once : once, blockIdx.y, gridDim.y);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = warp / 4 * 64;
    // A warpgroup whose part of the tile lies outside of c only stores.
    const bool inside = t.row + row < m;
    const u32 warps = t.row + 64 < m ? 8 : 4;

    if (threadIdx.x == 0) {
        for (u32 s = 0; s < STAGES; s++) {
            mbarrier_init(full(s), 1);
            mbarrier_init(empty(s), warps);
        }
        mbarrier_ready();
    }
    __syncthreads();

    if (warp == CONSUMERS / 32) {
        if (lane == 0) {
            prefetch_map(a);
            prefetch_map(b);
            for (u32 step = steps.from; step < steps.to; step++) {
                const u32 i = step - steps.from, s = i % STAGES, stage = base + s * STAGE;
                if (i >= STAGES) mbarrier_wait(empty(s), i / STAGES - 1);
                mbarrier_expect(full(s), STAGE);
                const u32 k0 = (step < once ? step : step - once) * BK;
                load<A, BM>(stage, step < once ? a : a_low, t.row, k0, full(s));
                load<B, BN>(stage + TILE_A, b, t.col, k0, full(s));
            }
        }
        __syncwarp();
    } else if (inside) {
        float sum[BN / 2];
#pragma unroll
        for (int i = 0; i < BN / 2; i++) sum[i] = 0.f;
        hold(sum);
        // Bytes of 16 of k.
        constexpr u32 NEXT_A = A == ALONG_K ? 32 : 2048, NEXT_B = B == ALONG_K ? 32 : 2048;
        for (u32 step = steps.from; step < steps.to; step++) {
            const u32 i = step - steps.from, s = i % STAGES, stage = base + s * STAGE;
            mbarrier_wait(full(s), i / STAGES);
            wgmma_fence();
#pragma unroll
            for (u32 j = 0; j < BK / 16; j++) {
                const u64 left = descriptor(stage + row * 128 + j * NEXT_A, BOX), right = descriptor(stage + TILE_A + j * NEXT_B, BOX);
                wgmma<A == ALONG_M, B == ALONG_M>(sum, left, right);
            }
            wgmma_commit();
            // The group before is done with its stage.
            wgmma_wait<1>();
            if (i > 0 && lane == 0) mbarrier_arrive(empty((i - 1) % STAGES));
        }
        wgmma_wait<0>();
        hold(sum);
        // All copies have landed and were read, by the other warpgroup too: the sums may take their place.
        barrier(1, warps * 32);
#pragma unroll
        for (u32 j = 0; j < BN / 8; j++)
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                put_sums<BN>(shared, warp * 16 + lane / 4 + h * 8, j * 8 + lane % 4 * 2, sum[4 * j + 2 * h], sum[4 * j + 2 * h + 1]);
            }
    }
    __syncthreads();
    if (wide_out) {
        const u64 before = u64(blockIdx.y) * m * ldc;
        store<BM, BN, THREADS>(static_cast<float*>(c) + before, bias, shared, t, m, n, ldc, add);
    } else {
        store<BM, BN, THREADS>(static_cast<bf16*>(c), bias, shared, t, m, n, ldc, add);
    }
}

#define GEMM(NAME, A, B, BN)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                                 \
        NAME(void* c, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap a_low, const __grid_constant__ TensorMap b,     \
             const bf16* bias, u32 m, u32 n, u32 k, u32 ldc, u32 add, u32 wide_out, u32 twice) {                                             \
        gemm<A, B, BN>(c, &a, &a_low, &b, bias, m, n, k, ldc, add, wide_out, twice);                                                         \
    }
GEMM(gemm_nt_sm90_bf16, ALONG_K, ALONG_K, 256)
GEMM(gemm_nn_sm90_bf16, ALONG_K, ALONG_M, 256)
GEMM(gemm_tn_sm90_bf16, ALONG_M, ALONG_M, 256)
GEMM(gemm_nt_sm90_128_bf16, ALONG_K, ALONG_K, 128)
GEMM(gemm_nn_sm90_128_bf16, ALONG_K, ALONG_M, 128)
GEMM(gemm_tn_sm90_128_bf16, ALONG_M, ALONG_M, 128)
