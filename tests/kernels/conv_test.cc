#include "backends/cpu/kernels/conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "base/parallel.h"
#include "tensor/half.h"

namespace vivace::cpu {
namespace {

struct Deleter {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};
// Exactly `bytes`, so that AddressSanitizer sees one byte too many.
std::unique_ptr<void, Deleter> aligned(size_t bytes) { return std::unique_ptr<void, Deleter>(::operator new(bytes, std::align_val_t(64))); }

double get(const std::vector<uint8_t>& data, DType dtype, size_t i) {
  if (dtype == DType::float32) return reinterpret_cast<const float*>(data.data())[i];
  if (dtype == DType::bfloat16) return static_cast<float>(reinterpret_cast<const bf16*>(data.data())[i]);
  return static_cast<float>(reinterpret_cast<const f16*>(data.data())[i]);
}
void put(std::vector<uint8_t>& data, DType dtype, size_t i, double value) {
  const auto v = static_cast<float>(value);
  if (dtype == DType::float32) reinterpret_cast<float*>(data.data())[i] = v;
  if (dtype == DType::bfloat16) reinterpret_cast<bf16*>(data.data())[i] = bf16(v);
  if (dtype == DType::float16) reinterpret_cast<f16*>(data.data())[i] = f16(v);
}
double rounded(DType dtype, double value) {
  std::vector<uint8_t> one(4);
  put(one, dtype, 0, value);
  return get(one, dtype, 0);
}
double unit_roundoff(DType dtype) { return dtype == DType::float32 ? 0x1p-24 : dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11; }

double activate(double x, Act act) {
  switch (act) {
    case Act::none: return x;
    case Act::silu: return x / (1 + std::exp(-x));
    case Act::gelu: return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Act::gelu_tanh: return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Act::relu: return std::max(x, 0.0);
  }
  return x;
}

struct Case {
  ConvSpec spec;
  int64_t n = 1, h = 8, w = 8;
  int64_t extra = 0;  // channels before and after the slice of x, y and residual
  bool bias = true, image_bias = false, residual = false, norm = false, silu = false;
  Act act = Act::none;
  int threads = 2;
};

// Operands, the float64 result, and what rounding the factors once may add to it.
struct Problem {
  Case c;
  int64_t oh, ow;
  std::vector<uint8_t> x, residual, y;
  std::vector<float> weight, bias, image_bias, scale, shift;
  std::vector<double> input;     // x' of [n, h, w, c], upsampled where the spec says so
  std::vector<double> expected;  // [n, oh, ow, o], before rounding to the activation's dtype

  int64_t ld(int64_t channels) const { return channels + 2 * c.extra; }
};

// Integers small enough that every step of every kernel is exact; otherwise uniform numbers.
enum class Values { exact, uniform };

Problem make_problem(const Case& c, Values values, unsigned seed) {
  std::mt19937 random(seed);
  const auto number = [&](int least, int most, double step) {
    return values == Values::exact ? step * std::uniform_int_distribution<int>(least, most)(random)
                                   : std::uniform_real_distribution<double>(-1, 1)(random);
  };
  Problem p{.c = c, .oh = conv_out_h(c.spec, c.h), .ow = conv_out_w(c.spec, c.w)};
  const ConvSpec& s = c.spec;
  const int64_t ci = s.in_channels, co = s.out_channels;
  const size_t size = dtype_size(s.act);
  const int taps = s.kernel * s.kernel;
  p.x.assign(c.n * c.h * c.w * p.ld(ci) * size, 0xff);  // NaN outside of the slice
  p.y.assign(c.n * p.oh * p.ow * p.ld(co) * size, 0xff);
  p.residual = p.y;
  for (int64_t i = 0; i < c.n * c.h * c.w; ++i)
    for (int64_t k = 0; k < ci; ++k) put(p.x, s.act, i * p.ld(ci) + c.extra + k, number(-2, 2, 1));
  for (int64_t i = 0; i < c.n * p.oh * p.ow; ++i)
    for (int64_t k = 0; k < co; ++k) put(p.residual, s.act, i * p.ld(co) + c.extra + k, number(-9, 9, 1));
  // 24 squared makes even F(4x4)'s transformed weights integers; 4 those of F(2x2), which have to fit bf16
  const double step = s.compute == DType::float32 ? 576 : 4;
  for (int64_t i = 0; i < co * ci * taps; ++i) p.weight.push_back(number(-2, 2, step) / (values == Values::exact ? 1 : std::sqrt(ci * taps)));
  for (int64_t i = 0; i < co; ++i) p.bias.push_back(number(-9, 9, 1));
  for (int64_t i = 0; i < c.n * co; ++i) p.image_bias.push_back(number(-9, 9, 1));
  for (int64_t i = 0; i < c.n * ci; ++i) p.scale.push_back(number(1, 2, 1)), p.shift.push_back(number(-1, 1, 1));

  const int up = s.upsample2x ? 2 : 1;
  const int64_t ih = c.h * up, iw = c.w * up;
  for (int64_t n = 0; n < c.n; ++n)
    for (int64_t y = 0; y < ih; ++y)
      for (int64_t x = 0; x < iw; ++x)
        for (int64_t k = 0; k < ci; ++k) {
          double v = get(p.x, s.act, ((n * c.h + y / up) * c.w + x / up) * p.ld(ci) + c.extra + k);
          if (c.norm) v = v * p.scale[n * ci + k] + p.shift[n * ci + k];
          p.input.push_back(c.silu ? activate(v, Act::silu) : v);
        }
  for (int64_t n = 0; n < c.n; ++n)
    for (int64_t y = 0; y < p.oh; ++y)
      for (int64_t x = 0; x < p.ow; ++x)
        for (int64_t o = 0; o < co; ++o) {
          double sum = 0;
          for (int t = 0; t < taps; ++t) {
            const int64_t iy = y * s.stride - s.pad.top + t / s.kernel, ix = x * s.stride - s.pad.left + t % s.kernel;
            if (iy < 0 || iy >= ih || ix < 0 || ix >= iw) continue;
            const double* pixel = &p.input[((n * ih + iy) * iw + ix) * ci];
            for (int64_t k = 0; k < ci; ++k) sum += pixel[k] * p.weight[(o * ci + k) * taps + t];
          }
          if (c.bias) sum += p.bias[o];
          if (c.image_bias) sum += p.image_bias[n * co + o];
          sum = activate(sum, c.act);
          if (c.residual) sum += get(p.residual, s.act, ((n * p.oh + y) * p.ow + x) * p.ld(co) + c.extra + o);
          p.expected.push_back(sum);
        }
  return p;
}

// Runs the kernel and returns [n, oh, ow, o]; everything outside of y's slice must be untouched.
std::vector<double> run(const ConvKernel& kernel, Isa isa, Problem& p) {
  const Case& c = p.c;
  const ConvSpec& s = c.spec;
  const size_t size = dtype_size(s.act);
  const auto packed = aligned(kernel.packed_bytes(s, isa));
  kernel.pack(s, isa, p.weight.data(), DType::float32, packed.get());
  const auto workspace = aligned(kernel.workspace_bytes(s, isa, c.n, c.h, c.w, c.threads));
  ConvArgs args{.x = p.x.data() + c.extra * size, .n = c.n, .h = c.h, .w = c.w, .ldx = p.ld(s.in_channels), .y = p.y.data() + c.extra * size,
                .ldy = p.ld(s.out_channels), .activation = c.act, .threads = c.threads};
  if (c.bias) args.bias = p.bias.data();
  if (c.image_bias) args.image_bias = p.image_bias.data();
  if (c.residual) args.residual = p.residual.data() + c.extra * size, args.ld_residual = p.ld(s.out_channels);
  if (c.norm) args.input_scale = p.scale.data(), args.input_shift = p.shift.data(), args.input_silu = c.silu;
  kernel.run(s, isa, packed.get(), args, workspace.get());
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

std::vector<Isa> machine_levels() {
  std::vector<Isa> levels;
  for (Isa level : {Isa::avx2, Isa::avx512, Isa::avx512_bf16})
    if (level <= isa()) levels.push_back(level);
  return levels;
}

// test(kernel, isa) for every kernel that accepts `spec`, on every level of this machine where it differs from the level below.
template <class Test>
int each_kernel(const ConvSpec& spec, const Test& test) {
  int count = 0;
  for (Isa level : machine_levels())
    for (const ConvKernel& kernel : conv_kernels())
      if (!kernel.refuse(spec, level) && !(spec.compute == DType::float32 && level == Isa::avx512_bf16)) {
        SCOPED_TRACE(std::string(kernel.name) + " on " + std::string(isa_name(level)));
        test(kernel, level);
        ++count;
      }
  return count;
}

void expect_exact(const Case& c) {
  const Problem problem = make_problem(c, Values::exact, 1);
  const int accepted = each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    Problem p = problem;
    const std::vector<double> got = run(kernel, level, p);
    int wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] == rounded(c.spec.act, p.expected[i]) || ++wrong > 3) continue;
      const int64_t pixel = static_cast<int64_t>(i) / c.spec.out_channels;
      ADD_FAILURE() << "image " << pixel / (p.oh * p.ow) << " y " << pixel / p.ow % p.oh << " x " << pixel % p.ow << " channel "
                    << i % c.spec.out_channels << ": " << got[i] << ", not " << p.expected[i];
    }
    EXPECT_EQ(wrong, 0) << "of " << got.size();
  });
  if (isa() >= Isa::avx512_bf16) EXPECT_GT(accepted, 0);
}

constexpr DType kComputes[] = {DType::float32, DType::bfloat16};
constexpr ConvPadding kSame{1, 1, 1, 1};

TEST(Conv, ExactOnIntegersAtEverySizeAndChannelTail) {
  for (DType compute : kComputes)
    for (auto [ci, co] : {std::pair<int64_t, int64_t>{4, 32}, {32, 4}, {33, 35}, {1, 1}, {64, 96}, {7, 70}})
      for (auto [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {7, 9}, {16, 16}, {5, 34}})
        for (bool upsample : {false, true}) {
          SCOPED_TRACE(testing::Message() << ci << "->" << co << " " << h << "x" << w << " upsample " << upsample << " " << dtype_name(compute));
          expect_exact({.spec = {.in_channels = ci, .out_channels = co, .pad = kSame, .compute = compute, .upsample2x = upsample}, .h = h, .w = w});
        }
}

TEST(Conv, ExactWithStridesPaddingsAndOneByOne) {
  for (DType compute : kComputes)
    for (int kernel : {1, 3})
      for (int stride : {1, 2})
        for (ConvPadding pad : {ConvPadding{}, kSame, ConvPadding{0, 0, 1, 1}, ConvPadding{2, 0, 1, 3}})
          for (auto [h, w] : {std::pair<int64_t, int64_t>{3, 3}, {8, 8}, {13, 6}, {4, 33}}) {
            SCOPED_TRACE(testing::Message() << "kernel " << kernel << " stride " << stride << " pad " << pad.top << pad.left << pad.bottom << pad.right
                                            << " " << h << "x" << w << " " << dtype_name(compute));
            expect_exact({.spec = {.in_channels = 40, .out_channels = 40, .kernel = kernel, .stride = stride, .pad = pad, .compute = compute},
                          .n = 2, .h = h, .w = w});
          }
}

TEST(Conv, ExactInSlicesOfEveryDtypeWithBiasesResidualAndNorm) {
  for (DType compute : kComputes)
    for (DType act : {DType::float32, DType::bfloat16, DType::float16})
      for (bool upsample : {false, true})
        for (int64_t extra : {0, 3})
          for (int threads : {1, 2, 3}) {
            SCOPED_TRACE(testing::Message() << dtype_name(act) << " " << dtype_name(compute) << " extra " << extra << " threads " << threads);
            // float16 overflows at 65504: fewer channels there
            const int64_t channels = act == DType::float16 ? 2 : 37;
            expect_exact({.spec = {.in_channels = channels, .out_channels = 41, .pad = kSame, .act = act, .compute = compute, .upsample2x = upsample},
                          .n = 3, .h = 6, .w = 11, .extra = extra, .image_bias = true, .residual = true, .norm = true, .threads = threads});
          }
}

// Large enough that inputs are not shared, blocks have ragged ends and the direct kernels visit their sums several times.
TEST(Conv, ExactInManyBlocks) {
  for (DType compute : kComputes)
    for (bool upsample : {false, true}) {
      expect_exact({.spec = {.in_channels = 5, .out_channels = 33, .pad = kSame, .compute = compute, .upsample2x = upsample}, .h = 101, .w = 117});
      expect_exact({.spec = {.in_channels = 1280, .out_channels = 3, .pad = kSame, .act = DType::bfloat16, .compute = compute, .upsample2x = upsample},
                    .h = 9, .w = 10});
    }
}

TEST(Conv, ResidualMayBeTheOutputItself) {
  const Case c{.spec = {.in_channels = 20, .out_channels = 24, .pad = kSame}, .h = 9, .w = 9, .residual = true};
  each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    Problem p = make_problem(c, Values::exact, 3);
    const auto packed = aligned(kernel.packed_bytes(c.spec, level)), workspace = aligned(kernel.workspace_bytes(c.spec, level, 1, 9, 9, 2));
    kernel.pack(c.spec, level, p.weight.data(), DType::float32, packed.get());
    kernel.run(c.spec, level, packed.get(),
               {.x = p.x.data(), .h = 9, .w = 9, .ldx = 20, .y = p.residual.data(), .ldy = 24, .bias = p.bias.data(), .residual = p.residual.data(),
                .ld_residual = 24, .threads = 2},
               workspace.get());
    for (size_t i = 0; i < p.expected.size(); ++i) ASSERT_EQ(get(p.residual, DType::float32, i), p.expected[i]);
  });
}

TEST(Conv, WeightsOfEveryFloatingDtypePackAlike) {
  const ConvSpec spec{.in_channels = 5, .out_channels = 7, .pad = kSame};
  const size_t count = 5 * 7 * 9;
  std::vector<float> wide;
  std::vector<double> f64;
  std::vector<bf16> b16;
  std::vector<f16> h16;
  std::vector<f8e4m3> f8;
  for (size_t i = 0; i < count; ++i) {
    const float v = static_cast<float>(static_cast<int>(i % 15) - 7);
    wide.push_back(v), f64.push_back(v), b16.emplace_back(v), h16.emplace_back(v), f8.emplace_back(v);
  }
  each_kernel(spec, [&](const ConvKernel& kernel, Isa level) {
    const size_t bytes = kernel.packed_bytes(spec, level);
    std::vector<uint8_t> first(bytes), other(bytes);
    kernel.pack(spec, level, wide.data(), DType::float32, first.data());
    const std::pair<const void*, DType> sources[] = {
        {f64.data(), DType::float64}, {b16.data(), DType::bfloat16}, {h16.data(), DType::float16}, {f8.data(), DType::float8_e4m3}};
    for (auto [data, dtype] : sources) {
      kernel.pack(spec, level, data, dtype, other.data());
      EXPECT_EQ(first, other) << dtype_name(dtype);
    }
  });
}

// ---- Rounding errors on real numbers ----

// The one-dimensional transforms as matrices: V = B d, U = G g, y = A (U * V). `in_step` is how far the next tile's input is.
struct Matrices {
  int in, pos, out, in_step;
  std::vector<double> input, weight, output;  // B [pos][in], G [pos][3], A [out][pos]
};
Matrices matrices_of(std::string_view kernel) {
  if (kernel.starts_with("winograd_f4"))
    return {6, 6, 4, 4, {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0, 0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1, 0, 0, 4, 0, -5, 0, 1},
            {.25, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12, 1. / 6, 1. / 24, -1. / 12, 1. / 6, 0, 0, 1},
            {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1}};
  if (kernel.starts_with("winograd_f2"))
    return {4, 4, 2, 2, {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1}, {1, 0, 0, .5, .5, .5, .5, -.5, .5, 0, 0, 1}, {1, 1, 1, 0, 0, 1, -1, -1}};
  // On the upsampled image, a tile starts at an odd row: pixels a, b, b, c. The middle ones are read as halves of their sum.
  if (kernel.starts_with("winograd_upsample")) return {4, 3, 2, 2, {1, -.5, -.5, 0, 0, .5, .5, 0, 0, .5, .5, -1}, {1, 0, 0, 1, 1, 1, 0, 0, 1}, {1, 1, 0, 0, 1, -1}};
  if (kernel.starts_with("upsample_phases"))
    return {4, 4, 2, 2, {1, 0, 0, 0, 0, .5, .5, 0, 0, .5, .5, 0, 0, 0, 0, 1}, {1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1}, {1, 1, 0, 0, 0, 0, 1, 1}};
  return {3, 3, 1, 1, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 1, 1}};
}

// What one output's error can be (`most`) and is likely to be (`variance`), from the operands themselves.
struct ErrorBound {
  std::vector<double> most, variance;
};

// Every product's two factors carry a relative error of at most u each, uniform and independent (variance u^2 / 3 each); float32 sums of k terms
// add at most k and, as a random walk whose steps are half of a partial sum's unit, about sqrt(k) roundings. Linear transforms carry absolute
// values to bounds and squares to variances.
ErrorBound bound_of(std::string_view kernel, const Problem& p) {
  const Matrices m = matrices_of(kernel);
  const ConvSpec& s = p.c.spec;
  const int64_t ci = s.in_channels, co = s.out_channels, up = s.upsample2x ? 2 : 1, ih = p.c.h * up, iw = p.c.w * up;
  const int positions = m.pos * m.pos;
  const double u = unit_roundoff(s.compute), u32 = unit_roundoff(DType::float32);
  const double transforms = 2.0 * m.in + 2.0 * m.pos;  // float32 operations before and after
  const double worst = 2 * u + u * u + u32 * (static_cast<double>(ci) + transforms + 4), likely = 2 * u * u / 3 + u32 * u32 * (static_cast<double>(ci) + transforms);
  std::vector<double> weights(static_cast<size_t>(co * ci * positions));
  for (int64_t i = 0; i < co * ci; ++i)
    for (int a = 0; a < m.pos; ++a)
      for (int b = 0; b < m.pos; ++b)
        for (int t = 0; t < 9; ++t) weights[i * positions + a * m.pos + b] += m.weight[a * 3 + t / 3] * m.weight[b * 3 + t % 3] * p.weight[i * 9 + t];
  ErrorBound bound{std::vector<double>(p.expected.size()), std::vector<double>(p.expected.size())};
  std::vector<double> inputs(static_cast<size_t>(ci * positions)), magnitudes(inputs.size());
  for (int64_t n = 0; n < p.c.n; ++n)
    for (int64_t ty = 0; ty < p.oh; ty += m.out)
      for (int64_t tx = 0; tx < p.ow; tx += m.out) {
        for (int64_t k = 0; k < ci; ++k)
          for (int a = 0; a < m.pos; ++a)
            for (int b = 0; b < m.pos; ++b) {
              double v = 0, magnitude = 0;
              for (int i = 0; i < m.in; ++i)
                for (int j = 0; j < m.in; ++j) {
                  const int64_t y = ty - 1 + i, x = tx - 1 + j;
                  if (y < 0 || x < 0 || y >= ih || x >= iw) continue;
                  const double term = m.input[a * m.in + i] * m.input[b * m.in + j] * p.input[((n * ih + y) * iw + x) * ci + k];
                  v += term, magnitude += std::abs(term);
                }
              inputs[k * positions + a * m.pos + b] = v, magnitudes[k * positions + a * m.pos + b] = magnitude;
            }
        for (int64_t o = 0; o < co; ++o) {
          std::array<double, 36> most{}, squares{};
          for (int64_t k = 0; k < ci; ++k)
            for (int q = 0; q < positions; ++q) {
              const double weight = weights[(o * ci + k) * positions + q];
              most[q] += std::abs(weight) * magnitudes[k * positions + q];
              squares[q] += weight * weight * inputs[k * positions + q] * inputs[k * positions + q];
            }
          for (int i = 0; i < m.out && ty + i < p.oh; ++i)
            for (int j = 0; j < m.out && tx + j < p.ow; ++j) {
              const size_t at = ((n * p.oh + ty + i) * p.ow + tx + j) * co + o;
              for (int q = 0; q < positions; ++q) {
                const double a = m.output[i * m.pos + q / m.pos] * m.output[j * m.pos + q % m.pos];
                bound.most[at] += std::abs(a) * most[q] * worst;
                bound.variance[at] += a * a * squares[q] * likely;
              }
              const double out = unit_roundoff(s.act) * std::abs(p.expected[at]), sums = 4 * u32 * (1 + std::abs(p.expected[at]));
              bound.most[at] += out * (1 + bound.most[at]) + sums;
              bound.variance[at] += out * out / 3 + sums * sums;
            }
        }
      }
  return bound;
}

void expect_bounded(const Case& c, bool report = false) {
  const Problem problem = make_problem(c, Values::uniform, 7);
  each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    Problem p = problem;
    const std::vector<double> got = run(kernel, level, p);
    const ErrorBound bound = bound_of(kernel.name, p);
    double error = 0, likely = 0, power = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double e = got[i] - p.expected[i];
      ASSERT_LE(std::abs(e), bound.most[i]) << "at " << i;
      error += e * e, likely += bound.variance[i], power += p.expected[i] * p.expected[i];
    }
    // The prediction is an expectation; twice it leaves room for chance and for what the model of the sums leaves out, and none for a lost tap.
    EXPECT_LE(std::sqrt(error), 2 * std::sqrt(likely));
    if (report)
      std::printf("  %-24s %-12s relative RMS error %.2e, predicted %.2e\n", kernel.name.data(), isa_name(level).data(), std::sqrt(error / power),
                  std::sqrt(likely / power));
  });
}

TEST(Conv, ErrorsAreThoseOfRoundingTheFactors) {
  for (DType compute : kComputes)
    for (bool upsample : {false, true})
      expect_bounded({.spec = {.in_channels = 96, .out_channels = 33, .pad = kSame, .compute = compute, .upsample2x = upsample}, .h = 11, .w = 13,
                      .bias = false},
                     true);
}

TEST(Conv, FusedNormAndSiluRoundLikeTheirResult) {
  for (DType compute : kComputes)
    for (DType act : {DType::float32, DType::bfloat16, DType::float16})
      expect_bounded({.spec = {.in_channels = 45, .out_channels = 33, .pad = kSame, .act = act, .compute = compute}, .n = 2, .h = 7, .w = 9, .norm = true,
                      .silu = true});
}

// Activations are Lipschitz with a constant below 1.13 (gelu's largest slope), and good to a few units of float32.
TEST(Conv, ActivationsInTheEpilogue) {
  for (Act act : {Act::silu, Act::gelu, Act::gelu_tanh, Act::quick_gelu, Act::relu}) {
    Case c{.spec = {.in_channels = 8, .out_channels = 20, .pad = kSame}, .h = 6, .w = 5};
    each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
      Problem plain = make_problem(c, Values::uniform, 5);
      const ErrorBound bound = bound_of(kernel.name, plain);
      Case with = c;
      with.act = act;
      Problem p = make_problem(with, Values::uniform, 5);
      const std::vector<double> got = run(kernel, level, p);
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_LE(std::abs(got[i] - p.expected[i]), 1.13 * bound.most[i] + 8 * unit_roundoff(DType::float32) * (1 + std::abs(plain.expected[i])));
    });
  }
}

TEST(Conv, RefusalsSayWhy) {
  const ConvSpec spec{.in_channels = 8, .out_channels = 8, .pad = kSame, .compute = DType::bfloat16};
  const auto reason = [](std::string_view name, const ConvSpec& s, Isa level) { return find_conv_kernel(name)->refuse(s, level).value_or("accepted"); };
  EXPECT_EQ(reason("winograd_f2_bf16", spec, Isa::avx512_bf16), "accepted");
  EXPECT_EQ(reason("winograd_f2_bf16", spec, Isa::avx512), "needs avx512_bf16, this machine offers avx512");
  EXPECT_EQ(reason("winograd_f2_f32", spec, Isa::avx512_bf16), "computes in float32, not bfloat16");
  EXPECT_EQ(reason("winograd_upsample_bf16", spec, Isa::avx512_bf16), "only for a convolution after nearest 2x upsampling");
  ConvSpec other = spec;
  other.stride = 2;
  EXPECT_EQ(reason("winograd_f2_bf16", other, Isa::avx512_bf16), "stride 2, not 1");
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "accepted");
  other = spec;
  other.upsample2x = true;
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "does not upsample");
  other.pad = {};
  EXPECT_EQ(reason("upsample_phases_bf16", other, Isa::avx512_bf16), "padding other than 1 on each side");
  other = spec;
  other.act = DType::int8;
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "activations of int8");
  EXPECT_EQ(reason("direct_f32", {.in_channels = 8, .out_channels = 8}, Isa::baseline), "needs avx2, this machine offers baseline");
  EXPECT_EQ(find_conv_kernel("no_such_kernel"), nullptr);
}

}  // namespace
}  // namespace vivace::cpu
