// A row of padding was forgotten in the size of the tile (dynamic shared memory).
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
    extern __shared__ float tile[];
#ifdef BUG
    int stride = 33;
#else
    int stride = 32;
#endif
    int row = threadIdx.x / 32, column = threadIdx.x % 32;
    tile[row * stride + column] = b[threadIdx.x];  // fault
    __syncthreads();
    a[threadIdx.x] = tile[row * stride + 31 - column];
}
