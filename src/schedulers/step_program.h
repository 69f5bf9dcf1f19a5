// A scheduler's step as data: linear combinations of tensors with coefficients known before the loop, some of them bounded afterwards.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "vivace/tensor.h"

namespace vivace {

// The tensors a step can read or write.
enum Slot : int { kSample, kModelOutput, kNoise, kPrevSample, kPrediction, kHistory };  // kHistory and above live on to later steps
// What solvers keep: a sample that a step's later calls of the model go back to and what the first one gave, or the step's before.
inline constexpr Slot kSavedSample = kHistory, kDerivative = static_cast<Slot>(kHistory + 1), kLastSample = kHistory;
inline constexpr int kMaxSlots = 20;

// sum of coefficient * slot. Arithmetic on these reads like the formulas of the papers: (sample - sigma * output) / alpha.
class Linear {
 public:
  Linear() = default;
  Linear(Slot slot) { coefficients_[slot] = 1; }
  double operator[](int slot) const { return coefficients_[slot]; }

  Linear& operator+=(const Linear& other);
  Linear& operator*=(double factor);
  friend Linear operator+(Linear a, const Linear& b) { return a += b; }
  friend Linear operator-(Linear a, const Linear& b) { return a += -1.0 * b; }
  friend Linear operator*(double factor, Linear a) { return a *= factor; }
  friend Linear operator*(Linear a, double factor) { return a *= factor; }
  friend Linear operator/(Linear a, double divisor) { return a *= 1 / divisor; }

 private:
  std::array<double, kMaxSlots> coefficients_{};
};

enum class Bound : uint8_t { none, clip, threshold };

// How predicted originals are bounded.
struct Bounds {
  Bound kind = Bound::none;
  float clip_range = 1;                               // clip: to [-range, range]
  float threshold_ratio = 0.995f, threshold_max = 1;  // threshold: see apply_threshold
};

// Divisor that recovers the original from a sample with `amount` of signal in it. Where there is none (zero terminal SNR), a bounded
// prediction still is its bound, with the sign of the difference; an unbounded one is not a number, which StepProgram::finite reports.
inline double signal(double amount, Bound bound) { return bound == Bound::none ? amount : std::max(amount, 1e-30); }

struct Term {
  int slot;
  float coefficient;
};

// target = bound(sum of coefficient * slot). The target may be among the terms.
struct Combination {
  int target;
  std::vector<Term> terms;
  Bound bound = Bound::none;
};

// What one step does, in order. The last combination writes kPrevSample.
class StepProgram {
 public:
  void assign(int target, const Linear& value, Bound bound = Bound::none);
  // Noise is drawn even where its coefficient is zero: the generator's stream must go on as in Diffusers.
  void draw_noise() { draws_noise_ = true; }

  const std::vector<Combination>& combinations() const { return combinations_; }
  bool draws_noise() const { return draws_noise_; }
  bool finite() const;
  // Reads a history slot that an earlier step has written.
  bool reads_history() const;

 private:
  std::vector<Combination> combinations_;
  bool draws_noise_ = false;
};

// Runs programs over float32 tensors and keeps the history slots between them.
class StepRunner {
 public:
  StepRunner() = default;
  // History belongs to one run: a copy starts without.
  StepRunner(const StepRunner&) {}
  StepRunner& operator=(const StepRunner&) = delete;

  void reset();
  // Returns kPrevSample. All tensors have the sample's shape; noise may be undefined when the program does not draw any. The sample's memory is
  // kept for the next result, if it is nobody else's by then.
  Tensor run(const StepProgram& program, const Bounds& bounds, Tensor sample, const Tensor& model_output, const Tensor& noise);

 private:
  std::array<Tensor, kMaxSlots> slots_;
};

// Dynamic thresholding of Imagen (arXiv 2205.11487): per image, s is the ratio-quantile of |x|, at least 1 and at most `max`;
// x is clamped to [-s, s] and divided by s. x: [batch, ...], float32.
void apply_threshold(Tensor& x, float ratio, float max);

}  // namespace vivace
