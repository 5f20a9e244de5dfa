// The host frees the input before the kernel runs.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    a[threadIdx.x] = b[threadIdx.x];  // fault
}
