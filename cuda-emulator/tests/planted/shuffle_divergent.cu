// A shuffle over all lanes that half of them do not execute.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    float v = b[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
#ifdef BUG
        v += __shfl_xor_sync(~0u, v, 1);  // fault
#else
        v += __shfl_xor_sync(0xffffu, v, 1);
#endif
        a[threadIdx.x] = v;
    } else {
        a[threadIdx.x] = v * 2;
    }
    __syncwarp();
    a[threadIdx.x + 128] = a[threadIdx.x ^ 16];
}
