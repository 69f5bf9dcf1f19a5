#include "schedulers/step_program.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/parallel.h"
#include "vivace/error.h"

namespace vivace {

Linear& Linear::operator+=(const Linear& other) {
  for (int i = 0; i < kMaxSlots; ++i) coefficients_[i] += other.coefficients_[i];
  return *this;
}

Linear& Linear::operator*=(double factor) {
  // A slot that is not there must stay away: 0 * infinity would bring it in as NaN.
  for (double& c : coefficients_) c = c == 0 ? 0 : c * factor;
  return *this;
}

void StepProgram::assign(int target, const Linear& value, Bound bound) {
  Combination combination{target, {}, bound};
  for (int slot = 0; slot < kMaxSlots; ++slot)
    if (value[slot] != 0) combination.terms.push_back({slot, static_cast<float>(value[slot])});
  combinations_.push_back(std::move(combination));
}

bool StepProgram::finite() const {
  for (const Combination& c : combinations_)
    for (const Term& term : c.terms)
      if (!std::isfinite(term.coefficient)) return false;
  return true;
}

bool StepProgram::reads_history() const {
  std::array<bool, kMaxSlots> written{};
  for (const Combination& c : combinations_) {
    for (const Term& term : c.terms)
      if (term.slot >= kHistory && !written[term.slot]) return true;
    written[c.target] = true;
  }
  return false;
}

void StepRunner::reset() {
  for (Tensor& slot : slots_) slot = Tensor();
}

namespace {

// Evaluates combinations [begin, end), of which only the last may be thresholded (by the caller, afterwards), in one pass over memory.
void combine(std::span<const Combination> combinations, const Bounds& bounds, std::array<Tensor, kMaxSlots>& slots, int64_t n) {
  std::array<float*, kMaxSlots> data{};
  for (size_t s = 0; s < slots.size(); ++s) data[s] = slots[s].as<float>();
  constexpr int64_t kBlock = 1024;      // a few slots of a block stay in the first-level cache between combinations
  constexpr int64_t kGrain = 64 << 10;  // below that, waking the threads costs more than the work
  parallel_for(n, kGrain, [&](int64_t from, int64_t to) {
    float sum[kBlock];
    for (int64_t begin = from; begin < to; begin += kBlock) {
      const int64_t count = std::min(kBlock, to - begin);
      for (const Combination& c : combinations) {
        std::fill_n(sum, count, 0.f);
        for (const Term& term : c.terms) {
          const float* x = data[term.slot] + begin;
          const float a = term.coefficient;
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) sum[i] += a * x[i];
        }
        float* y = data[c.target] + begin;
        if (c.bound == Bound::clip)
          for (int64_t i = 0; i < count; ++i) y[i] = std::clamp(sum[i], -bounds.clip_range, bounds.clip_range);
        else
          std::copy_n(sum, count, y);
      }
    }
  });
}

}  // namespace

Tensor StepRunner::run(const StepProgram& program, const Bounds& bounds, Tensor sample, const Tensor& model_output, const Tensor& noise) {
  const Shape shape = sample.shape();
  const int64_t n = sample.numel();
  slots_[kSample] = std::move(sample);
  slots_[kModelOutput] = model_output;
  slots_[kNoise] = noise;
  const std::span<const Combination> all = program.combinations();
  for (const Combination& c : all)
    if (Tensor& target = slots_[c.target]; !target.unique() || target.shape() != shape) target = Tensor(shape, DType::float32);
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    while (end < all.size() && all[end].bound != Bound::threshold) ++end;
    const bool threshold = end < all.size();
    if (threshold) ++end;
    combine(all.subspan(begin, end - begin), bounds, slots_, n);
    if (threshold) apply_threshold(slots_[all[end - 1].target], bounds.threshold_ratio, bounds.threshold_max);
    begin = end;
  }
  Tensor result = std::exchange(slots_[kPrevSample], std::move(slots_[kSample]));
  for (int s : {kSample, kModelOutput, kNoise}) slots_[s] = Tensor();
  return result;
}

void apply_threshold(Tensor& x, float ratio, float max) {
  if (x.numel() == 0) return;
  const int64_t batch = x.dim(0), n = x.numel() / batch;
  std::vector<float> sorted(static_cast<size_t>(n));
  for (int64_t b = 0; b < batch; ++b) {
    float* row = x.as<float>() + b * n;
    if (std::any_of(row, row + n, [](float v) { return std::isnan(v); })) {  // the quantile of a NaN is one, and NaNs do not sort
      std::fill_n(row, n, std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    std::transform(row, row + n, sorted.begin(), [](float v) { return std::abs(v); });
    const float rank = ratio * static_cast<float>(n - 1);  // torch.quantile, linear interpolation
    const auto below = static_cast<int64_t>(rank);
    std::nth_element(sorted.begin(), sorted.begin() + below, sorted.end());
    const float low = sorted[below], weight = rank - static_cast<float>(below);
    const float high = below + 1 < n ? *std::min_element(sorted.begin() + below + 1, sorted.end()) : low;
    const float quantile = weight < 0.5f ? low + weight * (high - low) : high - (high - low) * (1 - weight);
    const float s = std::min(std::max(quantile, 1.f), max);
    for (int64_t i = 0; i < n; ++i) row[i] = std::clamp(row[i], -s, s) / s;
  }
}

}  // namespace vivace
