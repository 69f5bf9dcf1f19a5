// t0=affine i0 scale=0.5 shift=0.25;t1=gelu t0;t2=add t1 i1;t3=cast t2 to=bfloat16;t4=gelu_tanh t3;t5=quick_gelu t4;t6=clamp t5 max=3 min=-2;t7=sub t6 i2;t8=exp t7;t9=affine t8 scale=1 shift=1;t10=rsqrt t9;t11=div t6 t10;t12=relu t11;t13=add t12 t7
#include "numbers.cuh"
using namespace vivace::cuda;
extern "C" __global__ void activations(const float* __restrict__ i0, long long s0, const f16* __restrict__ i1, long long s1, const float* __restrict__ i2, long long s2, f16* __restrict__ out, long long out_stride, long long rows, long long channels, long long rows_per_image) {
  const long long vectors = (channels + 7) / 8, step = (long long)gridDim.x * blockDim.x;
  for (long long v = (long long)blockIdx.x * blockDim.x + threadIdx.x; v < rows * vectors; v += step) {
    const long long r = v / vectors, c = v % vectors * 8;
    const int n = channels - c < 8 ? (int)(channels - c) : 8;
    float x0[8];
    load(i0 + r * s0 + c, n, x0);
    const float x1 = to_float(i1[r * s1]);
    const float x2 = to_float(*i2);
    float y[8];
    for (int k = 0; k < 8; ++k) {
      const float t0 = x0[k] * 0.5f + 0.25f;
      const float t1 = 0.5f * t0 * (1.f + erff(0.70710678f * t0));
      const float t2 = t1 + x1;
      const float t3 = rounded<bf16>(t2);
      const float t4 = 0.5f * t3 * (1.f + tanhf(0.79788456f * (t3 + 0.044715f * t3 * t3 * t3)));
      const float t5 = t4 / (1.f + expf(-1.702f * t4));
      const float t6 = t5 < -2.f ? -2.f : t5 > 3.f ? 3.f : t5;
      const float t7 = t6 - x2;
      const float t8 = expf(t7);
      const float t9 = t8 * 1.f + 1.f;
      const float t10 = rsqrtf(t9);
      const float t11 = t6 / t10;
      const float t12 = t11 < 0.f ? 0.f : t11;
      const float t13 = t12 + t7;
      y[k] = t13;
    }
    store(y, n, out + r * out_stride + c);
  }
}
