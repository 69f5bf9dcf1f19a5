// What products of integers cost on normal numbers: attention_int8_error(), attention_int16_error().
#include <algorithm>
#include <cmath>
#include <numbers>

#include "backends/cpu/kernels/attention/kernels.h"

namespace vivace::cpu {
namespace {

// The mean of f(the largest of n magnitudes, or of n numbers) of a normal distribution.
template <class Function>
double mean_of_largest(int64_t n, bool magnitudes, const Function& f) {
  constexpr double kStep = 0.01, kMost = 8;
  const auto below = [&](double x) {
    const double share = std::erf(x / std::numbers::sqrt2);
    return std::pow(magnitudes ? std::max(share, 0.) : (1 + share) / 2, static_cast<double>(n));
  };
  double sum = 0;
  for (double x = -kMost; x < kMost; x += kStep) sum += f(x + kStep / 2) * (below(x + kStep) - below(x));
  return sum;
}

// `of_factor`: the mean square of a step of a query's or key's numbers; `weight`: the largest a weight can be.
double error(double of_factor, double weight, int64_t keys) {
  constexpr double kRounding = 1 / 12.;  // of the square of a step
  // Of a score either factor is rounded; what all scores of a query have in common changes nothing, which is this part of it, since weights e^s of
  // normal scores have moments e^(k^2 / 2).
  constexpr double kCommon = 2 * std::numbers::e * std::numbers::e - std::numbers::e;
  const double of_score = 2 * of_factor * kRounding / (1 + kCommon / static_cast<double>(keys));
  // Weights have steps of a part of the block's largest one, and a mean square of e^2.
  const int64_t block = std::min(keys, kIntKeys);
  const double of_weight =
      mean_of_largest(block, false, [](double x) { return std::exp(2 * x); }) / (weight * weight) * kRounding / (std::numbers::e * std::numbers::e);
  // The product of the norms of a block's values and weights, these at most weight * sqrt(block), is below 2^31.
  const double step = static_cast<double>(block) * weight * 0x1p-31;
  return std::sqrt(of_score + of_weight + step * step * kRounding);
}

}  // namespace

double attention_int8_error(int64_t head_dim, int64_t keys) {
  return error(mean_of_largest(head_dim, true, [](double x) { return x * x; }) / (127 * 127), kLargestWeightOfBytes, keys);
}

double attention_int16_error(int64_t head_dim, int64_t keys) {
  constexpr double kNorm = 46300;
  return error(static_cast<double>(head_dim) / (kNorm * kNorm), kLargestWeightOfWords, keys);
}

}  // namespace vivace::cpu
