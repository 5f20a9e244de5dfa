// The source of a cp.async is changed before the copy was waited for.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ alignas(16) float tile[128 * 4];
    float* x = a + threadIdx.x * 4;
    for (int i = 0; i < 4; ++i) x[i] = b[i];
    unsigned to = (unsigned)__cvta_generic_to_shared(tile + threadIdx.x * 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x) : "memory");
#ifdef BUG
    x[2] = 100;
#endif
    asm volatile("cp.async.wait_all;" ::: "memory");  // fault
    x[2] = 100 + tile[threadIdx.x * 4 + 2];
}
