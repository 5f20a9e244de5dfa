// Each thread waits for its own copies, but not for those of the others.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) float tile[128 * 4];
    unsigned to = (unsigned)__cvta_generic_to_shared(tile + threadIdx.x * 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(b + threadIdx.x * 4) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
#ifndef BUG
    __syncthreads();
#endif
    a[threadIdx.x] = tile[511 - threadIdx.x];  // fault
}
