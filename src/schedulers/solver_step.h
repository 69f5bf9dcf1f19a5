// What DPMSolverMultistep and UniPC share: a sigma as the pair (alpha, sigma) of x = alpha * original + sigma * noise, and its lambda.
#pragma once

#include <cmath>

#include "schedulers/numeric.h"

namespace vivace {

// In float32, as the reference: the differences of lambdas that the solvers divide by carry its rounding.
struct NoiseLevel {
  float alpha, sigma, lambda;  // lambda: log alpha - log sigma, infinite where sigma is zero

  // `flow`: sigma is the share of noise in (1 - sigma) * original + sigma * noise; otherwise it is the standard deviation of the noise
  // beside an original of full size.
  NoiseLevel(float s, bool flow) {
    alpha = flow ? 1.f - s : 1.f / std::sqrt(s * s + 1.f);
    sigma = flow ? s : s * alpha;
    lambda = log_float(alpha) - log_float(sigma);
  }

  // The lambda of a training timestep.
  static float training_lambda(float alpha_cumprod) { return log_float(std::sqrt(alpha_cumprod)) - log_float(std::sqrt(1.f - alpha_cumprod)); }
};

}  // namespace vivace
