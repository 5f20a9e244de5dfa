// Patterns that are legal and look suspicious: none may be reported. Every kernel runs with 6 blocks of 128 threads.
#include <cooperative_groups.h>
#include <cuda_bf16.h>

// Sums of a warp without a shuffle: neighbours' numbers after __syncwarp.
extern "C" __global__ void warp_tree(float* a, const float* b, unsigned* c, int n) {
    __shared__ float s[128];
    int t = threadIdx.x, lane = t & 31;
    s[t] = b[t];
    __syncwarp();
    for (int o = 16; o > 0; o /= 2) {
        float v = lane < o ? s[t + o] : 0;
        __syncwarp();
        if (lane < o) s[t] += v;
        __syncwarp();
    }
    if (lane == 0) a[blockIdx.x * 4 + t / 32] = s[t];
}

// The same by groups of eight lanes that are at different places of the program.
extern "C" __global__ void group_tree(float* a, const float* b, unsigned* c, int n) {
    __shared__ float s[128];
    int t = threadIdx.x, lane = t & 7;
    unsigned mask = 0xffu << (t & 24);
    s[t] = b[t];
    __syncwarp(mask);
    if ((t & 31) < 16) {
        for (int o = 4; o > 0; o /= 2) {
            float v = s[t ^ o];
            __syncwarp(mask);
            s[t] += v;
            __syncwarp(mask);
        }
    } else {
        for (int o = 1; o < 8; o *= 2) {
            float v = s[t ^ o];
            __syncwarp(mask);
            s[t] += v;
            __syncwarp(mask);
        }
    }
    if (lane == 0) a[blockIdx.x * 16 + t / 8] = s[t];
}

__device__ void stage(float* to, const float* from) {
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

// Three stages of asynchronous copies, one barrier for each tile: the next copy begins behind the barrier that ends the last use.
extern "C" __global__ void pipeline(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) float s[3][512];
    int t = threadIdx.x;
    for (int i = 0; i < 2; ++i) {
        stage(s[i] + 4 * t, b + 4 * t);
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    float sum = 0;
    for (int i = 0; i < 8; ++i) {
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        if (i + 2 < 8) stage(s[(i + 2) % 3] + 4 * t, b + 4 * t);
        asm volatile("cp.async.commit_group;" ::: "memory");
        for (int k = 0; k < 4; ++k) sum += s[i % 3][(t * 4 + k * 131) % 512];
    }
    a[blockIdx.x * 128 + t] = sum;
}

// Warps 0 and 1 produce, 2 and 3 consume; two buffers, four named barriers.
extern "C" __global__ void specialised(float* a, const float* b, unsigned* c, int n) {
    __shared__ float s[2][64];
    int t = threadIdx.x;
    if (t < 64) {
        for (int i = 0; i < 6; ++i) {
            if (i >= 2) asm volatile("bar.sync %0, 128;" ::"r"(3 + i % 2) : "memory");
            s[i % 2][t] = b[t + i];
            asm volatile("bar.arrive %0, 128;" ::"r"(1 + i % 2) : "memory");
        }
    } else {
        float sum = 0;
        for (int i = 0; i < 6; ++i) {
            asm volatile("bar.sync %0, 128;" ::"r"(1 + i % 2) : "memory");
            sum += s[i % 2][127 - t];
            if (i < 4) asm volatile("bar.arrive %0, 128;" ::"r"(3 + i % 2) : "memory");
        }
        a[blockIdx.x * 64 + t - 64] = sum;
    }
}

// A barrier of the grid, twice; each block reads what the others wrote and then overwrites it.
extern "C" __global__ void grid_barrier(float* a, const float* b, unsigned* c, int n) {
    auto meet = [&](unsigned round) {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(c, 1u);
            while (*(volatile unsigned*)c < round * gridDim.x) {
            }
            __threadfence();
        }
        __syncthreads();
    };
    int i = blockIdx.x * 128 + threadIdx.x, all = gridDim.x * 128;
    a[i] = b[threadIdx.x];
    meet(1);
    float v = a[(i + 131) % all] + a[(i + 257) % all];
    meet(2);
    a[i] = v;
}

// A lock: one block at a time adds to a sum.
extern "C" __global__ void lock(float* a, const float* b, unsigned* c, int n) {
    if (threadIdx.x == 0) {
        while (atomicCAS(c, 0u, 1u) != 0) {
        }
        __threadfence();
        float* sum = const_cast<float*>(b);
        sum[0] += 1;
        __threadfence();
        atomicExch(c, 0u);
    }
}

// Tickets in order of blocks: each adds to what the one before left (a deterministic sum).
extern "C" __global__ void in_turn(float* a, const float* b, unsigned* c, int n) {
    float* sum = const_cast<float*>(b);
    if (threadIdx.x == 0)
        while (*(volatile unsigned*)c != blockIdx.x) {
        }
    __threadfence();
    __syncthreads();
    sum[threadIdx.x] += threadIdx.x;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) atomicExch(c, blockIdx.x + 1);
}

// A histogram: atomics in shared memory, then atomics in device memory.
extern "C" __global__ void histogram(float* a, const float* b, unsigned* c, int n) {
    __shared__ unsigned bins[8];
    if (threadIdx.x < 8) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[(int)b[threadIdx.x] % 8], 1u);
    __syncthreads();
    if (threadIdx.x < 8) atomicAdd(c + threadIdx.x, bins[threadIdx.x]);
}

// bf16 in place, an odd number of elements: words are shared between lanes, warps and blocks.
extern "C" __global__ void bf16_in_place(float* a, const float* b, unsigned* c, int n) {
    __nv_bfloat16* x = (__nv_bfloat16*)b;
    int per = 101, t = threadIdx.x;
    if (t < per) {
        int i = blockIdx.x * per + t;
        x[i] = x[i] * __float2bfloat16(2.0f);
        x[i] = x[i] + __float2bfloat16(1.0f);
    }
}

// Bytes, and every lane writes the same value to one place.
extern "C" __global__ void bytes_and_flags(float* a, const float* b, unsigned* c, int n) {
    unsigned char* x = (unsigned char*)a;
    __shared__ int any;
    if (threadIdx.x == 0) any = 0;
    __syncthreads();
    if (threadIdx.x < 127) x[blockIdx.x * 127 + threadIdx.x] = 1;
    if (threadIdx.x < 32) ((volatile int*)a)[1000 + blockIdx.x] = 2;
    if (b[threadIdx.x] > 3) atomicExch(&any, 1);
    __syncthreads();
    if (any) ((volatile unsigned*)c)[0] = 7;
}

// Shuffles and votes where all lanes of the mask are, in a loop that lanes leave at different times.
extern "C" __global__ void leaving(float* a, const float* b, unsigned* c, int n) {
    int left = threadIdx.x % 32;
    float v = b[threadIdx.x];
    while (__any_sync(~0u, left > 0)) {
        v += __shfl_xor_sync(~0u, v, 1);
        --left;
    }
    unsigned mask = __ballot_sync(~0u, threadIdx.x % 3 == 0);
    if (threadIdx.x % 3 == 0) {
        v = __reduce_max_sync(mask, (unsigned)v);
        __syncwarp(mask);
    }
    a[blockIdx.x * 128 + threadIdx.x] = v;
}

// One tile for two purposes, by unions and casts of different widths.
extern "C" __global__ void reuse(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) unsigned char raw[1024];
    int t = threadIdx.x;
    float* f = (float*)raw;
    __nv_bfloat16* h = (__nv_bfloat16*)raw;
    f[t] = b[t];
    __syncthreads();
    float4 v = ((float4*)raw)[t % 32];
    __syncthreads();
    h[t] = __float2bfloat16(v.x + v.y);
    h[t + 128] = __float2bfloat16(v.z + v.w);
    __syncthreads();
    __nv_bfloat162 p = ((__nv_bfloat162*)raw)[t];
    a[blockIdx.x * 128 + t] = __bfloat162float(p.x) + __bfloat162float(p.y);
}

// A row for each warp, with the numbers of the row in shared memory: only its own warp touches it.
extern "C" __global__ void own_row(float* a, const float* b, unsigned* c, int n) {
    __shared__ float s[4][33];
    int w = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int i = 0; i < 3; ++i) {
        s[w][lane] = b[threadIdx.x + i];
        __syncwarp();
        float v = s[w][31 - lane];
        __syncwarp();
        a[blockIdx.x * 128 + threadIdx.x] = v;
    }
}

// Threads leave before a barrier that the others meet at.
extern "C" __global__ void early_exit(float* a, const float* b, unsigned* c, int n) {
    __shared__ float s[64];
    if (threadIdx.x >= 64) return;
    s[threadIdx.x] = b[threadIdx.x];
    __syncthreads();
    a[blockIdx.x * 64 + threadIdx.x] = s[63 - threadIdx.x];
}

// Cooperative groups: tiles, and the block.
extern "C" __global__ void groups(float* a, const float* b, unsigned* c, int n) {
    namespace cg = cooperative_groups;
    __shared__ float s[128];
    auto block = cg::this_thread_block();
    auto tile = cg::tiled_partition<16>(block);
    s[threadIdx.x] = b[threadIdx.x];
    tile.sync();
    float v = s[threadIdx.x ^ 15];
    for (int o = 8; o > 0; o /= 2) v += tile.shfl_xor(v, o);
    tile.sync();
    s[threadIdx.x] = v;
    block.sync();
    a[blockIdx.x * 128 + threadIdx.x] = s[127 - threadIdx.x];
}

// A struct in local memory, indexed at run time, and passed by address.
struct Pair {
    float x[8];
    int used;
};
__device__ __noinline__ float last(const Pair* p) { return p->x[p->used & 7]; }
extern "C" __global__ void stack(float* a, const float* b, unsigned* c, int n) {
    Pair p;
    for (int i = 0; i < 8; ++i) p.x[(i + threadIdx.x) & 7] = b[i];
    p.used = n + threadIdx.x;
    a[blockIdx.x * 128 + threadIdx.x] = last(&p);
}
