// Two stages are in flight; the wait leaves one of them, and it is the one that is read.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) float tile[2][128 * 4];
    float sum = 0;
    for (int s = 0; s < 2; ++s) {
        unsigned to = (unsigned)__cvta_generic_to_shared(tile[s] + threadIdx.x * 4);
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(b + threadIdx.x * 4) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    sum += tile[0][511 - threadIdx.x];
#ifdef BUG
    asm volatile("cp.async.wait_group 1;" ::: "memory");
#else
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
    __syncthreads();
    a[threadIdx.x] = sum + tile[1][511 - threadIdx.x];  // fault
}
