// cp.async: its tile is read before the copy was waited for.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) float tile[128 * 4];
    unsigned to = (unsigned)__cvta_generic_to_shared(tile + threadIdx.x * 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(b + threadIdx.x * 4) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
#ifndef BUG
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
    __syncthreads();
    a[threadIdx.x] = tile[511 - threadIdx.x];  // fault
}
