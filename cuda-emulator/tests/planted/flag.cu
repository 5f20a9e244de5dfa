// One block waits for another's flag. The writer must fence between its data and the flag.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    volatile unsigned* flag = c;
    if (blockIdx.x == 1) {
        a[threadIdx.x] = b[threadIdx.x];
#ifndef BUG
        __threadfence();
#endif
        __syncthreads();
        if (threadIdx.x == 0) *flag = 1;
    } else if (blockIdx.x == 0) {
        if (threadIdx.x == 0) {
            while (*flag == 0) {
            }
            __threadfence();
        }
        __syncthreads();
        a[128 + threadIdx.x] = a[threadIdx.x];  // fault
    }
}
