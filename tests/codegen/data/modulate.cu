// t0=mul i0 i1;t1=add t0 i2;t2=silu t1
#include "numbers.cuh"
using namespace vivace::cuda;
extern "C" __global__ void modulate(const bf16* __restrict__ i0, long long s0, const float* __restrict__ i1, long long s1, const bf16* __restrict__ i2, long long s2, bf16* __restrict__ out, long long out_stride, long long rows, long long channels, long long rows_per_image) {
  const long long vectors = (channels + 7) / 8, step = (long long)gridDim.x * blockDim.x;
  for (long long v = (long long)blockIdx.x * blockDim.x + threadIdx.x; v < rows * vectors; v += step) {
    const long long r = v / vectors, c = v % vectors * 8;
    const int n = channels - c < 8 ? (int)(channels - c) : 8;
    float x0[8];
    load(i0 + r * s0 + c, n, x0);
    float x1[8];
    load(i1 + c, n, x1);
    float x2[8];
    load(i2 + r / rows_per_image * s2 + c, n, x2);
    float y[8];
    for (int k = 0; k < 8; ++k) {
      const float t0 = x0[k] * x1[k];
      const float t1 = t0 + x2[k];
      const float t2 = t1 / (1.f + expf(-t1));
      y[k] = t2;
    }
    store(y, n, out + r * out_stride + c);
  }
}
