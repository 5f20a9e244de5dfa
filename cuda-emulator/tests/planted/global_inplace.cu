// A stencil in place: a block overwrites what its neighbour reads.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    float* x = const_cast<float*>(b);
    int i = blockIdx.x * 128 + threadIdx.x;
    float v = x[i] + x[i + 1];  // fault
#ifdef BUG
    __syncthreads();
    x[i] = v;  // fault
#else
    a[i] = v;
#endif
}
