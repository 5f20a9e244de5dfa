// The ring of stages is one too short: a copy begins while an older one to the same place is in flight.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    const int stages = 2;
#else
    const int stages = 3;
#endif
    __shared__ alignas(16) float tile[stages][128 * 4];
    auto load = [&](int i) {
        unsigned to = (unsigned)__cvta_generic_to_shared(tile[i % stages] + threadIdx.x * 4);
        const float* from = b + threadIdx.x * 4;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");  // fault
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    load(0);
    load(1);
    float sum = 0;
    for (int i = 0; i < 6; ++i) {
        load(i + 2);
        asm volatile("cp.async.wait_group 2;" ::: "memory");
        __syncthreads();
        sum += tile[i % stages][511 - threadIdx.x];
        __syncthreads();
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    a[threadIdx.x] = sum;
}
