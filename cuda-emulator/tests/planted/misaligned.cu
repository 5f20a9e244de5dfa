// A vector load at an address that is no multiple of 16 bytes.
extern "C" __global__ void planted(float* a, const float* b, unsigned* c, int n) {
#ifdef BUG
    const float* from = b + 1;
#else
    const float* from = b + 4;
#endif
    float4 v = reinterpret_cast<const float4*>(from)[threadIdx.x];  // fault
    a[threadIdx.x] = v.x + v.y + v.z + v.w;
}
