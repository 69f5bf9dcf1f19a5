// The host's twins of CUDA's built-ins and of what src/backends/cuda/kernels/ptx.cuh asks of a GPU; block.h runs them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.h"
#include "tensor/half.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define UNROLL

inline void __syncthreads(int line = __builtin_LINE()) { host_cuda::meet_block({"__syncthreads", line}); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }

namespace vivace::cuda {

inline char* shared_memory() { return host_cuda::shared_memory(); }
inline void expect_aligned(const void* p, int bytes) {
  if (reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes))
    host_cuda::fail("an access that is not aligned to " + std::to_string(bytes) + " bytes");
}

// In and Out of each lane, Compute(in[32], out[32]) by the last that arrives.
template <class Out, class In, class Compute>
Out of_warp(const char* what, int line, const In& in, Compute) {
  Out out;
  host_cuda::meet_warp(
      {what, line},
      [](const void* const* ins, void* const* outs) {
        const In* in[32];
        Out* out[32];
        for (size_t i = 0; i < 32; ++i) {
          in[i] = static_cast<const In*>(ins[i]);
          out[i] = static_cast<Out*>(outs[i]);
        }
        Compute()(in, out);
      },
      &in, &out);
  return out;
}

template <class T>
struct Shuffle {
  T x;
  int lane;
};
template <class T>
T shuffle(T x, int lane, int line = __builtin_LINE()) {
  return of_warp<T>("shuffle", line, Shuffle<T>{x, lane}, [](const Shuffle<T>* const(&in)[32], T* const(&out)[32]) {
    for (int l = 0; l < 32; ++l) *out[l] = in[in[l]->lane % 32]->x;
  });
}
template <class T>
T shuffle_xor(T x, int mask, int line = __builtin_LINE()) {
  return shuffle(x, static_cast<int>(threadIdx.x % 32) ^ mask, line);
}
inline bool any_of_warp(bool x, int line = __builtin_LINE()) {
  return of_warp<bool>("any", line, x, [](const bool* const(&in)[32], bool* const(&out)[32]) {
    const bool any = std::any_of(in, in + 32, [](const bool* one) { return *one; });
    for (bool* one : out) *one = any;
  });
}
inline void warp_barrier(int line = __builtin_LINE()) { (void)any_of_warp(false, line); }
inline int exchange_if(int* at, int expected, int value) {
  const int old = *at;
  if (old == expected) *at = value;
  return old;
}

inline unsigned bits_of(float x) { return std::bit_cast<unsigned>(x); }
inline float float_of(unsigned bits) { return std::bit_cast<float>(bits); }
inline float fast_exp2(float x) { return std::exp2(x); }
inline float fast_divide(float a, float b) { return a / b; }
inline int round_to_int(float x) { return static_cast<int>(std::nearbyint(x)); }
inline float mul_rounded(float a, float b) { return a * b; }
inline float add_rounded(float a, float b) { return a + b; }

inline unsigned short bf16_bits(float x) { return vivace::bf16(x).bits; }
inline unsigned short f16_bits(float x) { return vivace::f16(x).bits; }
inline float f16_value(unsigned short bits) { return vivace::f16::to_float(bits); }
inline unsigned bf16_pair(float low, float high) { return bf16_bits(low) | static_cast<unsigned>(bf16_bits(high)) << 16; }
inline unsigned f16_pair(float low, float high) { return f16_bits(low) | static_cast<unsigned>(f16_bits(high)) << 16; }

inline void copy_async_16(void* to, const void* from, bool valid) {
  expect_aligned(to, 16);
  if (valid) expect_aligned(from, 16);
  host_cuda::copy_later(to, valid ? from : nullptr);
}
inline void copy_async_commit() { host_cuda::close_copies(); }
template <int left>
void copy_async_wait() {
  host_cuda::wait_for_copies(left);
}

struct Registers {
  unsigned x[4];
};
// Element e of the 16-byte row at p.
inline unsigned short row_element(const void* p, int e) {
  unsigned short value;
  std::memcpy(&value, static_cast<const char*>(p) + 2 * e, 2);
  return value;
}
inline void load_tiles(unsigned (&x)[4], const void* row, int line = __builtin_LINE()) {
  expect_aligned(row, 16);
  const Registers r = of_warp<Registers>("ldmatrix", line, row, [](const void* const* const(&in)[32], Registers* const(&out)[32]) {
    for (int l = 0; l < 32; ++l)
      for (int j = 0; j < 4; ++j) {
        const void* p = *in[8 * j + l / 4];
        out[l]->x[j] = row_element(p, 2 * (l % 4)) | static_cast<unsigned>(row_element(p, 2 * (l % 4) + 1)) << 16;
      }
  });
  std::copy(r.x, r.x + 4, x);
}
inline void load_tiles_transposed(unsigned (&x)[4], const void* row, int line = __builtin_LINE()) {
  expect_aligned(row, 16);
  const Registers r = of_warp<Registers>("ldmatrix.trans", line, row, [](const void* const* const(&in)[32], Registers* const(&out)[32]) {
    for (int l = 0; l < 32; ++l)
      for (int j = 0; j < 4; ++j)
        out[l]->x[j] = row_element(*in[8 * j + 2 * (l % 4)], l / 4) | static_cast<unsigned>(row_element(*in[8 * j + 2 * (l % 4) + 1], l / 4)) << 16;
  });
  std::copy(r.x, r.x + 4, x);
}

template <class Sum>
struct Fragments {
  unsigned a[4], b[2];
  Sum c[4];
};
template <class Sum>
struct Sums {
  Sum c[4];
};
// The layouts of PTX's m16n8k16 (two elements a register) and m16n8k32 (four), Element(register, place in it).
template <int per_register, class Element, class Sum>
struct MultiplyTiles {
  void operator()(const Fragments<Sum>* const (&in)[32], Sums<Sum>* const (&out)[32]) const {
    constexpr int k = 8 * per_register;
    decltype(Element()(0u, 0)) a[16][k], b[k][8];
    for (int l = 0; l < 32; ++l) {
      for (int r = 0; r < 4; ++r)
        for (int e = 0; e < per_register; ++e) a[l / 4 + 8 * (r % 2)][per_register * (l % 4) + e + k / 2 * (r / 2)] = Element()(in[l]->a[r], e);
      for (int r = 0; r < 2; ++r)
        for (int e = 0; e < per_register; ++e) b[per_register * (l % 4) + e + k / 2 * r][l / 4] = Element()(in[l]->b[r], e);
    }
    for (int l = 0; l < 32; ++l)
      for (int r = 0; r < 4; ++r) {
        const int row = l / 4 + 8 * (r / 2), column = 2 * (l % 4) + r % 2;
        Sum sum = in[l]->c[r];
        for (int i = 0; i < k; ++i) sum += a[row][i] * b[i][column];
        out[l]->c[r] = sum;
      }
  }
};
template <class Element, int per_register, class Sum>
void multiply_tiles(const char* what, int line, Sum (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const Fragments<Sum> in{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  const auto sums = of_warp<Sums<Sum>>(what, line, in, MultiplyTiles<per_register, Element, Sum>{});
  std::copy(sums.c, sums.c + 4, c);
}

struct BFloat16Element {
  float operator()(unsigned x, int e) const { return float_of(e ? x & 0xffff0000u : x << 16); }
};
struct Float16Element {
  float operator()(unsigned x, int e) const { return f16_value(static_cast<unsigned short>(x >> 16 * e)); }
};
struct Int8Element {
  int operator()(unsigned x, int e) const { return static_cast<int8_t>(x >> 8 * e); }
};
struct Float8Element {
  float operator()(unsigned x, int e) const {
    vivace::f8e4m3 element;
    element.bits = static_cast<uint8_t>(x >> 8 * e);
    return static_cast<float>(element);
  }
};
inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, int line = __builtin_LINE()) {
  multiply_tiles<BFloat16Element, 2>("mma.bf16", line, c, a, b0, b1);
}
inline void multiply_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, int line = __builtin_LINE()) {
  multiply_tiles<Float16Element, 2>("mma.f16", line, c, a, b0, b1);
}
inline void multiply_int8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, int line = __builtin_LINE()) {
  multiply_tiles<Int8Element, 4>("mma.int8", line, c, a, b0, b1);
}
inline void multiply_float8(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, int line = __builtin_LINE()) {
  multiply_tiles<Float8Element, 4>("mma.float8", line, c, a, b0, b1);
}

}  // namespace vivace::cuda
