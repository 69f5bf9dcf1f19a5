// What the solvers in lambda share: a sigma as the pair (alpha, sigma) of x = alpha * original + sigma * noise, and its lambda.
#pragma once

#include <cmath>

#include "schedulers/numeric.h"

namespace vivace {

// What a sigma in a scheduler's list is: the standard deviation of the noise beside an original of full size, in a sample that is scaled to
// variance 1 or not scaled at all; or the share of noise in (1 - sigma) * original + sigma * noise.
enum class SigmaKind { scaled, unscaled, flow };

// In float32, as the reference: the differences of lambdas that the solvers divide by carry its rounding.
struct NoiseLevel {
  float alpha, sigma, lambda;  // lambda: log alpha - log sigma, infinite where sigma is zero

  NoiseLevel(float s, SigmaKind kind) {
    alpha = kind == SigmaKind::flow ? 1.f - s : kind == SigmaKind::scaled ? 1.f / std::sqrt(s * s + 1.f) : 1.f;
    sigma = kind == SigmaKind::scaled ? s * alpha : s;
    lambda = log_float(alpha) - log_float(sigma);
  }

  // The lambda of a training timestep.
  static float training_lambda(float alpha_cumprod) { return log_float(std::sqrt(alpha_cumprod)) - log_float(std::sqrt(1.f - alpha_cumprod)); }
};

}  // namespace vivace
