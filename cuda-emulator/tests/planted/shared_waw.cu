// Write after write: every warp writes its own result to one place.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    __shared__ float result[4];
    float v = b[threadIdx.x];
#ifdef BUG
    if (threadIdx.x % 32 == 0) result[0] = v;  // fault
#else
    if (threadIdx.x % 32 == 0) result[threadIdx.x / 32] = v;
#endif
    __syncthreads();
    a[threadIdx.x] = result[0];
}
