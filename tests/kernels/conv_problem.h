// Convolution problems with their float64 answers, for the tests of conv.h.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "backends/cpu/kernels/conv/plan.h"
#include "tensor/half.h"

namespace vivace::cpu::conv_test {

struct Deleter {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};
// Exactly `bytes`, so that AddressSanitizer sees one byte too many.
inline std::unique_ptr<void, Deleter> aligned(size_t bytes) { return std::unique_ptr<void, Deleter>(::operator new(bytes, std::align_val_t(64))); }

inline double get(const std::vector<uint8_t>& data, DType dtype, size_t i) {
  if (dtype == DType::float32) return reinterpret_cast<const float*>(data.data())[i];
  if (dtype == DType::bfloat16) return static_cast<float>(reinterpret_cast<const bf16*>(data.data())[i]);
  return static_cast<float>(reinterpret_cast<const f16*>(data.data())[i]);
}
inline void put(std::vector<uint8_t>& data, DType dtype, size_t i, double value) {
  const auto v = static_cast<float>(value);
  if (dtype == DType::float32) reinterpret_cast<float*>(data.data())[i] = v;
  if (dtype == DType::bfloat16) reinterpret_cast<bf16*>(data.data())[i] = bf16(v);
  if (dtype == DType::float16) reinterpret_cast<f16*>(data.data())[i] = f16(v);
}
inline double rounded(DType dtype, double value) {
  std::vector<uint8_t> one(4);
  put(one, dtype, 0, value);
  return get(one, dtype, 0);
}
inline double unit_roundoff(DType dtype) { return dtype == DType::float32 ? 0x1p-24 : dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11; }

inline double activate(double x, Act act) {
  switch (act) {
    case Act::none:
      return x;
    case Act::silu:
      return x / (1 + std::exp(-x));
    case Act::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Act::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Act::relu:
      return std::max(x, 0.0);
  }
  return x;
}

struct Case {
  ConvSpec spec;
  int64_t n = 1, h = 8, w = 8;
  int64_t frames = 1;  // of y in each of n / frames videos, where the spec's depth is above 1
  int64_t extra = 0;   // channels before and after the slice of x, y and residual
  bool bias = true, image_bias = false, residual = false;
  Act act = Act::none;
  int threads = 2;
};

// Operands, the float64 result, and what rounding the factors once may add to it.
struct Problem {
  Case c;
  int64_t oh = 0, ow = 0;
  std::vector<uint8_t> x, residual, y;
  std::vector<float> weight, bias, image_bias;
  std::vector<double> input;     // x as [images, h, w, c], upsampled where the spec says so
  std::vector<double> expected;  // [n, oh, ow, o], before rounding to the activation's dtype

  int64_t ld(int64_t channels) const { return channels + 2 * c.extra; }
  int64_t images() const { return c.n + c.n / c.frames * (c.spec.depth - 1); }
};

// Integers small enough that every step of every kernel is exact; otherwise uniform numbers.
enum class Values { exact, uniform };

inline Problem make_problem(const Case& c, Values values, unsigned seed) {
  std::mt19937 random(seed);
  const auto number = [&](int least, int most, double step) {
    return values == Values::exact ? step * std::uniform_int_distribution<int>(least, most)(random)
                                   : std::uniform_real_distribution<double>(-1, 1)(random);
  };
  Problem p;
  p.c = c;
  p.oh = conv_out_h(c.spec, c.h), p.ow = conv_out_w(c.spec, c.w);
  const ConvSpec& s = c.spec;
  const int64_t ci = s.in_channels, co = s.out_channels;
  const size_t size = dtype_size(s.act);
  const int taps = s.kernel * s.kernel, all_taps = s.depth * taps;
  p.x.assign(p.images() * c.h * c.w * p.ld(ci) * size, 0xff);  // NaN outside of the slice
  p.y.assign(c.n * p.oh * p.ow * p.ld(co) * size, 0xff);
  p.residual = p.y;
  for (int64_t i = 0; i < p.images() * c.h * c.w; ++i)
    for (int64_t k = 0; k < ci; ++k) put(p.x, s.act, i * p.ld(ci) + c.extra + k, number(-2, 2, 1));
  for (int64_t i = 0; i < c.n * p.oh * p.ow; ++i)
    for (int64_t k = 0; k < co; ++k) put(p.residual, s.act, i * p.ld(co) + c.extra + k, number(-9, 9, 1));
  // 24 squared makes even F(4x4)'s transformed weights integers; 4 those of F(2x2), which have to fit bf16
  const double step = s.compute == DType::float32 ? 576 : 4;
  for (int64_t i = 0; i < co * ci * all_taps; ++i) p.weight.push_back(number(-2, 2, step) / (values == Values::exact ? 1 : std::sqrt(ci * all_taps)));
  for (int64_t i = 0; i < co; ++i) p.bias.push_back(number(-9, 9, 1));
  for (int64_t i = 0; i < c.n * (co + 3); ++i) p.image_bias.push_back(number(-9, 9, 1));

  const int up = s.upsample2x ? 2 : 1;
  const int64_t ih = c.h * up, iw = c.w * up;
  for (int64_t n = 0; n < p.images(); ++n)
    for (int64_t y = 0; y < ih; ++y)
      for (int64_t x = 0; x < iw; ++x)
        for (int64_t k = 0; k < ci; ++k) p.input.push_back(get(p.x, s.act, ((n * c.h + y / up) * c.w + x / up) * p.ld(ci) + c.extra + k));
  std::vector<double> by_tap(p.weight.size());  // [tap][in][out]
  for (int64_t i = 0; i < co * ci * all_taps; ++i) by_tap[(i % all_taps * ci + i / all_taps % ci) * co + i / all_taps / ci] = p.weight[i];
  std::vector<double> sums(co);
  for (int64_t n = 0; n < c.n; ++n)
    for (int64_t y = 0; y < p.oh; ++y)
      for (int64_t x = 0; x < p.ow; ++x) {
        for (int64_t o = 0; o < co; ++o) sums[o] = (c.bias ? p.bias[o] : 0.) + (c.image_bias ? p.image_bias[n * (co + 3) + o] : 0.);
        for (int t = 0; t < all_taps; ++t) {
          const int64_t iy = y * s.stride - s.pad.top + t % taps / s.kernel, ix = x * s.stride - s.pad.left + t % s.kernel;
          if (iy < 0 || iy >= ih || ix < 0 || ix >= iw) continue;
          const int64_t image = n + n / c.frames * (s.depth - 1) + t / taps;
          const double* pixel = &p.input[((image * ih + iy) * iw + ix) * ci];
          for (int64_t k = 0; k < ci; ++k)
            for (int64_t o = 0; o < co; ++o) sums[o] += pixel[k] * by_tap[(t * ci + k) * co + o];
        }
        for (int64_t o = 0; o < co; ++o) {
          const double residual = c.residual ? get(p.residual, s.act, ((n * p.oh + y) * p.ow + x) * p.ld(co) + c.extra + o) : 0.;
          p.expected.push_back(activate(sums[o], c.act) + residual);
        }
      }
  return p;
}

// Runs the kernel and returns [n, oh, ow, o]; everything outside of y's slice must be untouched.
inline std::vector<double> run(const ConvKernel& kernel, Isa isa, Problem& p) {
  const Case& c = p.c;
  const ConvSpec& s = c.spec;
  const size_t size = dtype_size(s.act);
  const auto packed = aligned(kernel.packed_bytes(s, isa));
  kernel.pack(s, isa, p.weight.data(), DType::float32, packed.get(), nullptr);
  const ConvPlan plan = kernel.plan(s, isa, c.n, c.h, c.w, c.threads);
  const auto workspace = aligned(plan.workspace_bytes());
  ConvArgs args{.x = p.x.data() + c.extra * size,
                .n = c.n,
                .h = c.h,
                .w = c.w,
                .ldx = p.ld(s.in_channels),
                .frames = c.frames,
                .y = p.y.data() + c.extra * size,
                .ldy = p.ld(s.out_channels),
                .activation = c.act};
  if (c.bias) args.bias = p.bias.data();
  if (c.image_bias) {
    args.image_bias = p.image_bias.data();  // rows lie apart
    args.ld_image_bias = s.out_channels + 3;
  }
  if (c.residual) args.residual = p.residual.data() + c.extra * size, args.ld_residual = p.ld(s.out_channels);
  kernel.run(s, isa, plan, packed.get(), args, workspace.get());
  std::vector<double> result;
  for (int64_t i = 0; i < c.n * p.oh * p.ow; ++i)
    for (int64_t k = 0; k < p.ld(s.out_channels); ++k) {
      const size_t at = i * p.ld(s.out_channels) + k;
      if (k >= c.extra && k < c.extra + s.out_channels) {
        result.push_back(get(p.y, s.act, at));
      } else {
        for (size_t b = 0; b < size; ++b) EXPECT_EQ(p.y[at * size + b], 0xff) << "written outside of the slice";
      }
    }
  return result;
}

inline std::vector<Isa> machine_levels() {
  std::vector<Isa> levels;
  for (Isa level : {Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx})
    if (has_isa(level)) levels.push_back(level);
  return levels;
}

// test(kernel, isa) for every kernel that accepts `spec`, on every level of this machine where it differs from the level below.
template <class Test>
int each_kernel(const ConvSpec& spec, const Test& test) {
  int count = 0;
  for (Isa level : machine_levels())
    for (const ConvKernel& kernel : conv_kernels())
      if (!kernel.refuse(spec, level) && !(spec.compute == DType::float32 && level >= Isa::avx512_bf16) &&
          !((level == Isa::avx2_vnni || level == Isa::avx512_vnni) && !kernel.name.ends_with("int16"))) {
        SCOPED_TRACE(std::string(kernel.name) + " on " + std::string(isa_name(level)));
        test(kernel, level);
        ++count;
      }
  return count;
}

inline constexpr DType kComputes[] = {DType::float32, DType::bfloat16};
inline constexpr ConvPadding kSame{1, 1, 1, 1};

}  // namespace vivace::cpu::conv_test
