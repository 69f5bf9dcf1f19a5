#include "vivace/generator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

#include "base/log.h"
#include "tensor/philox.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Box-Muller on 16 uniforms in place: the first eight give the radius, the last eight the angle; cosines come first.
// torch's AVX2 kernel evaluates logarithm, sine and cosine by the single-precision polynomials of Cephes, and its compiler
// contracts each multiply-add into one rounding. The order of operations below is what makes the values equal bit for bit,
// so this file is compiled with -ffp-contract=off.
__attribute__((always_inline)) inline void box_muller_16(float* data) {
  constexpr float kTwoPi = static_cast<float>(2 * std::numbers::pi);
#pragma omp simd
  for (int j = 0; j < 8; ++j) {
    const float u1 = 1.f - data[j], theta = kTwoPi * data[j + 8];  // u1 in (0, 1], theta in [0, 2 pi)

    // ln u1 = ln m + e ln 2 with m in [sqrt(1/2), sqrt(2)); u1 is never zero nor subnormal, being a multiple of 2^-24.
    const uint32_t bits = std::bit_cast<uint32_t>(u1);
    const float half = std::bit_cast<float>((bits & 0x007fffffu) | 0x3f000000u);
    const bool low = half < 0.707106781186547524f;
    const float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127) + (low ? 0.f : 1.f);
    const float m = (half - 1.f) + (low ? half : 0.f);
    const float m2 = m * m;
    float p = 7.0376836292e-2f;
    p = std::fma(p, m, -1.1514610310e-1f);
    p = std::fma(p, m, 1.1676998740e-1f);
    p = std::fma(p, m, -1.2420140846e-1f);
    p = std::fma(p, m, 1.4249322787e-1f);
    p = std::fma(p, m, -1.6668057665e-1f);
    p = std::fma(p, m, 2.0000714765e-1f);
    p = std::fma(p, m, -2.4999993993e-1f);
    p = std::fma(p, m, 3.3333331174e-1f);
    p = std::fma(p * m, m2, e * -2.12194440e-4f);
    p = std::fma(-m2, 0.5f, p);
    const float log_u1 = std::fma(e, 0.693359375f, m + p);
    const float radius = std::sqrt(-2.f * log_u1);

    // The octant of theta, made even, is subtracted in three parts of pi/4, which leaves [-pi/4, pi/4].
    const int32_t octant = (static_cast<int32_t>(theta * 1.27323954473516f) + 1) & ~1;
    const float k = static_cast<float>(octant);
    float x = std::fma(k, -0.78515625f, theta);
    x = std::fma(k, -2.4187564849853515625e-4f, x);
    x = std::fma(k, -3.77489497744594108e-8f, x);
    const float x2 = x * x;
    float c = 2.443315711809948e-5f;
    c = std::fma(c, x2, -1.388731625493765e-3f);
    c = std::fma(c, x2, 4.166664568298827e-2f);
    c = std::fma(c * x2, x2, -(x2 * 0.5f)) + 1.f;
    float s = -1.9515295891e-4f;
    s = std::fma(s, x2, 8.3321608736e-3f);
    s = std::fma(s, x2, -1.6666654611e-1f);
    s = std::fma(s * x2, x, x);
    const bool swap = (octant & 2) != 0;
    const float sine = swap ? c : s, cosine = swap ? s : c;
    data[j] = radius * ((octant - 2) & 4 ? cosine : -cosine) + 0.f;  // + 0: the mean; turns -0 into 0 as torch does
    data[j + 8] = radius * (octant & 4 ? -sine : sine) + 0.f;
  }
}

void box_muller_portable(float* data) { box_muller_16(data); }
#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void box_muller_avx2(float* data) { box_muller_16(data); }
#endif

auto choose_box_muller() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return box_muller_avx2;
#endif
  return box_muller_portable;
}

// The state of torch's generator of the CPU (CPUGeneratorImplState). `left` is how many numbers of the block are there, one more than are to come;
// the normal number that is kept lies in normal_y.
struct CpuState {
  uint64_t seed;
  int32_t left, seeded;
  uint64_t next, block[624];
  double normal_x, normal_y, normal_rho;
  int32_t has_normal, pad;
  float float_normal;
  int32_t has_float_normal;
};
static_assert(sizeof(CpuState) == 5056);
struct GpuState {
  uint64_t seed, offset;
};

template <class State>
Tensor bytes_of(const State& state) {
  Tensor bytes({sizeof(State)}, DType::uint8);
  std::memcpy(bytes.data(), &state, sizeof(State));
  return bytes;
}
template <class State>
State state_of(const Tensor& bytes) {
  State state;
  if (!bytes.defined() || bytes.dtype() != DType::uint8 || bytes.numel() != sizeof(State))
    throw UsageError(cat("the state of this generator is ", sizeof(State), " bytes (uint8): got ",
                         bytes.defined() ? cat(dtype_name(bytes.dtype()), " ", to_string(bytes.shape())) : "none"));
  std::memcpy(&state, bytes.data(), sizeof(State));
  return state;
}

float to_uniform(uint32_t bits) { return static_cast<float>(bits & 0xffffffu) * 0x1p-24f; }

}  // namespace

Generator Generator::cuda(uint64_t seed, int64_t gpu_threads) {
  constexpr int64_t kBlock = 256;
  if (gpu_threads < kBlock || gpu_threads % kBlock)
    throw UsageError(cat("gpu_threads is ", gpu_threads, ": expected a GPU's multiprocessors times the threads of each, a multiple of ", kBlock));
  Generator generator(seed);
  generator.gpu_threads_ = gpu_threads;
  return generator;
}

Generator& Generator::manual_seed(uint64_t seed) {
  seed_ = seed;
  offset_ = 0;
  state_[0] = static_cast<uint32_t>(seed);
  for (uint32_t i = 1; i < state_.size(); ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  next_ = static_cast<uint32_t>(state_.size());
  has_cached_normal_ = false;
  return *this;
}

Tensor Generator::get_state() const {
  if (gpu_threads_) return bytes_of(GpuState{seed_, offset_});
  const auto size = static_cast<uint32_t>(state_.size());
  const bool empty = next_ == size;
  CpuState state{};
  state.seed = seed_;
  state.left = static_cast<int32_t>(empty ? 1 : size + 1 - next_);
  state.seeded = 1;
  state.next = empty ? 0 : next_;
  std::ranges::copy(state_, state.block);
  state.normal_y = has_cached_normal_ ? cached_normal_ : 0;
  state.has_normal = has_cached_normal_;
  return bytes_of(state);
}

Generator& Generator::set_state(const Tensor& bytes) {
  if (gpu_threads_) {
    const auto state = state_of<GpuState>(bytes);
    seed_ = state.seed;
    offset_ = state.offset;
    return *this;
  }
  const auto state = state_of<CpuState>(bytes);
  const auto size = static_cast<uint32_t>(state_.size());
  if (state.seeded != 1 || state.left < 1 || state.left > static_cast<int32_t>(size) || state.next > size)
    throw UsageError("these bytes are no state of a generator: take them from get_state");
  seed_ = state.seed;
  std::ranges::transform(state.block, state_.begin(), [](uint64_t word) { return static_cast<uint32_t>(word); });
  next_ = state.left == 1 ? size : static_cast<uint32_t>(state.next);
  has_cached_normal_ = state.has_normal != 0;
  cached_normal_ = state.normal_y;
  return *this;
}

void Generator::refill() {
  constexpr uint32_t kSize = 624, kShift = 397;
  const auto twist = [](uint32_t u, uint32_t v) { return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ (v & 1 ? 0x9908b0dfu : 0u); };
  uint32_t i = 0;
  for (; i < kSize - kShift; ++i) state_[i] = state_[i + kShift] ^ twist(state_[i], state_[i + 1]);
  for (; i < kSize - 1; ++i) state_[i] = state_[i + kShift - kSize] ^ twist(state_[i], state_[i + 1]);
  state_[i] = state_[kShift - 1] ^ twist(state_[i], state_[0]);
  next_ = 0;
}

uint32_t Generator::random32() {
  if (gpu_threads_)
    throw UsageError("a generator of CUDA's numbers draws tensors alone: give a scheduler that plants a tree of noise (DPMSolverSDE) the CPU's");
  if (next_ == state_.size()) refill();
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

uint64_t Generator::random64() {
  const uint64_t high = random32();
  return high << 32 | random32();
}

double Generator::normal_double() {
  if (has_cached_normal_) {
    has_cached_normal_ = false;
    return cached_normal_;
  }
  const auto uniform = [this] { return static_cast<double>(random64() & ((1ull << 53) - 1)) * 0x1p-53; };
  const double theta = 2 * std::numbers::pi * uniform();
  const double radius = std::sqrt(-2 * std::log1p(-uniform()));
  cached_normal_ = radius * std::sin(theta);
  has_cached_normal_ = true;
  return radius * std::cos(theta);
}

Tensor Generator::rand(const Shape& shape) {
  Tensor out(shape, DType::float32);
  if (gpu_threads_)
    offset_ = philox_fill(out.floats(), seed_, offset_, gpu_threads_, false);
  else
    for (float& value : out.floats()) value = to_uniform(random32());
  return out;
}

Tensor Generator::randn(const Shape& shape) {
  Tensor out(shape, DType::float32);
  const std::span<float> values = out.floats();
  if (gpu_threads_) {
    offset_ = philox_fill(values, seed_, offset_, gpu_threads_, true);
    return out;
  }
  if (values.size() < 16) {
    for (float& value : values) value = static_cast<float>(normal_double());
    return out;
  }
  static const auto box_muller = choose_box_muller();
  for (float& value : values) value = to_uniform(random32());
  size_t i = 0;
  for (; i + 16 <= values.size(); i += 16) box_muller(values.data() + i);
  if (i < values.size()) {  // torch recomputes the last 16 values from fresh uniforms
    float* last = values.data() + values.size() - 16;
    for (int j = 0; j < 16; ++j) last[j] = to_uniform(random32());
    box_muller(last);
  }
  return out;
}

Tensor randn_tensor(const Shape& shape, std::span<Generator* const> generators) {
  if (generators.empty()) throw UsageError("random noise needs a generator: pass one, or one per image of the batch");
  for (const Generator* generator : generators)
    if (!generator) throw UsageError("a generator is null: pass one generator, or one per image of the batch");
  if (generators.size() == 1) return generators[0]->randn(shape);
  if (shape.empty() || shape[0] != static_cast<int64_t>(generators.size()))
    throw UsageError(
        cat("got ", generators.size(), " generators for noise of shape ", to_string(shape), ": pass one, or one per image of the batch"));
  Tensor out(shape, DType::float32);
  Shape row = shape;
  row[0] = 1;
  for (size_t b = 0; b < generators.size(); ++b) {
    const Tensor noise = generators[b]->randn(row);
    std::ranges::copy(noise.floats(), out.as<float>() + static_cast<int64_t>(b) * noise.numel());
  }
  return out;
}

}  // namespace vivace
