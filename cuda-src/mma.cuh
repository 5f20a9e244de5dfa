// Asynchronous copies, fragments and tensor cores of compute capability 8.0, one wrapper an instruction, and the swizzle that
// keeps shared memory free of bank conflicts.
//
// Fragments of mma.sync m16n8k16 (row.col, bf16 in, f32 out); lane l, g = l / 4, t = l % 4:
//   a (16 x 16, M x K): a[0] = A[g][2t..2t+1]   a[1] = A[g+8][2t..2t+1]   a[2] = A[g][2t+8..2t+9]   a[3] = A[g+8][2t+8..2t+9]
//   b (16 x 8,  K x N): b[0] = B[2t..2t+1][g]   b[1] = B[2t+8..2t+9][g]
//   c (16 x 8,  M x N): c[0], c[1] = C[g][2t], C[g][2t+1]   c[2], c[3] = C[g+8][2t], C[g+8][2t+1]
// ldmatrix x4 reads four 8 x 8 matrices of 16-bit numbers: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes) and
// gets in r[i] row l / 4, columns 2 (l % 4) and the next of matrix i; .trans gives row and column exchanged. So, in shared memory:
//   a from M x K rows:        ldmatrix_x4(a, row m0 + l % 16, chunk k0 / 8 + l / 16)
//   a from K x M rows:        ldmatrix_x4_trans(a, row k0 + l % 8 + l / 16 * 8, chunk m0 / 8 + l / 8 % 2)
//   two b from N x K rows:    ldmatrix_x4(b, row n0 + l % 8 + l / 16 * 8, chunk k0 / 8 + l / 8 % 2)    b[0], b[1] are columns n0.., b[2], b[3] n0 + 8..
//   two b from K x N rows:    ldmatrix_x4_trans(b, row k0 + l % 16, chunk n0 / 8 + l / 16)             the same
#pragma once
#include "common.cuh"

// The address of shared memory as the instructions below take it.
__device__ __forceinline__ u32 shared_address(const void* p) { return u32(__cvta_generic_to_shared(p)); }

// Copies 16 bytes to shared memory, past L1: the first `bytes` (0 to 16) from memory, zeros for the rest. Both are aligned to 16 bytes.
// Landed after cp_commit, cp_wait and a barrier.
__device__ __forceinline__ void cp_async_part(u32 to, const void* from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// All or nothing of it, the latter as zeros.
__device__ __forceinline__ void cp_async_16(u32 to, const void* from, bool valid) { cp_async_part(to, from, valid ? 16 : 0); }
// The same for 8 bytes, through L1.
__device__ __forceinline__ void cp_async_8(u32 to, const void* from, bool valid) {
    const u32 bytes = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;\n" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// Closes this thread's group of copies (it may be empty).
__device__ __forceinline__ void cp_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most the last N of this thread's groups are under way. The other threads' copies are there after a barrier.
template <int N> __device__ __forceinline__ void cp_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// c (16 x 8) += a (16 x 16) b (16 x 8).
__device__ __forceinline__ void mma_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two floats rounded to bf16 in one register, `low` in the lower half: neighbours of a fragment.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const u32*>(&both);
}

// Byte offset of a 16-byte chunk in a tile of rows of CHUNKS chunks. The chunks of a row are exchanged so that the same chunk of any
// eight rows in sequence lies in eight different groups of four banks: ldmatrix and 16-byte stores are free of conflicts.
// CHUNKS may be any number; an odd one needs no exchange.
template <int CHUNKS> __device__ __forceinline__ u32 swizzle(u32 row, u32 chunk) {
    constexpr u32 P = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : CHUNKS % 2 == 0 ? 2 : 1;
    return (row * CHUNKS + (chunk ^ (row / (8 / P) % P))) * 16;
}
