// t0=mul i0 i1;t1=add t0 i2;t2=silu t1
#include <cuda_bf16.h>
__device__ inline float to_float(float x) { return x; }
__device__ inline void from_float(float x, float& y) { y = x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void from_float(float x, __nv_bfloat16& y) { y = __float2bfloat16(x); }
template <class T>
struct alignas(16) Wide {
  T at[16 / sizeof(T)];
};
template <class T>
__device__ inline void load(const T* p, int n, float (&x)[8]) {
  if (n == 8 && (unsigned long long)p % 16 == 0) {
    for (int i = 0; i < 8; i += 16 / sizeof(T)) {
      const Wide<T> w = *(const Wide<T>*)(p + i);
      for (int j = 0; j < (int)(16 / sizeof(T)); ++j) x[i + j] = to_float(w.at[j]);
    }
  } else {
    for (int k = 0; k < 8; ++k) x[k] = k < n ? to_float(p[k]) : 0.f;
  }
}
template <class T>
__device__ inline void store(const float (&y)[8], int n, T* p) {
  if (n == 8 && (unsigned long long)p % 16 == 0) {
    for (int i = 0; i < 8; i += 16 / sizeof(T)) {
      Wide<T> w;
      for (int j = 0; j < (int)(16 / sizeof(T)); ++j) from_float(y[i + j], w.at[j]);
      *(Wide<T>*)(p + i) = w;
    }
  } else {
    for (int k = 0; k < n; ++k) from_float(y[k], p[k]);
  }
}
template <class T>
__device__ inline float rounded(float x) {
  T narrow;
  from_float(x, narrow);
  return to_float(narrow);
}
extern "C" __global__ void modulate(const __nv_bfloat16* __restrict__ i0, long long s0, const float* __restrict__ i1, long long s1, const __nv_bfloat16* __restrict__ i2, long long s2, __nv_bfloat16* __restrict__ out, long long out_stride, long long rows, long long channels, long long rows_per_image) {
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
