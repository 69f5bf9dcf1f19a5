#include "schedulers/edm.h"

#include <algorithm>
#include <cmath>

#include "schedulers/numeric.h"

namespace vivace {

EDMBase::EDMBase(SchedulerConfig& config) {
  const auto positive = [&](const char* key, double fallback) {
    const double value = config.number(key, fallback);
    if (!(value > 0)) config.unsupported(key, "a positive number");
    return value;
  };
  sigma_min_ = positive("sigma_min", 0.002);
  sigma_max_ = positive("sigma_max", 80.0);
  sigma_data_ = positive("sigma_data", 0.5);
  rho_ = positive("rho", 7.0);
  karras_ = config.choice("sigma_schedule", {"karras", "exponential"}, "karras") == "karras";
  v_prediction_ = config.choice("prediction_type", {"epsilon", "v_prediction"}, "epsilon") == "v_prediction";
  final_zero_ = config.choice("final_sigmas_type", {"zero", "sigma_min"}, "zero") == "zero";
  train_ = config.integer("num_train_timesteps", 1000, 1, 1'000'000);
}

float EDMBase::init_noise_sigma() const { return static_cast<float>(std::sqrt(sigma_max_ * sigma_max_ + 1)); }

float EDMBase::input_scale(int i) const {
  const float sigma_data_squared = static_cast<float>(sigma_data_ * sigma_data_);
  return SchedulerBase::input_scale(i) / std::sqrt(sigmas_[i] * sigmas_[i] + sigma_data_squared);
}

template <class Real>
std::vector<float> EDMBase::sigmas_at(const std::vector<Real>& ramp) const {
  if (!karras_) {
    const auto n = static_cast<int64_t>(ramp.size());
    std::vector<float> sigmas = linspace_float(static_cast<float>(std::log(sigma_min_)), static_cast<float>(std::log(sigma_max_)), n);
    std::ranges::reverse(sigmas);
    for (float& sigma : sigmas) sigma = exp_float(sigma);
    return sigmas;
  }
  const double low = std::pow(sigma_min_, 1 / rho_), high = std::pow(sigma_max_, 1 / rho_);
  std::vector<float> sigmas;
  for (const Real at : ramp) {
    const Real root = static_cast<Real>(high) + at * static_cast<Real>(low - high);
    sigmas.push_back(static_cast<float>(std::pow(static_cast<double>(root), rho_)));
  }
  return sigmas;
}
template std::vector<float> EDMBase::sigmas_at<float>(const std::vector<float>&) const;
template std::vector<float> EDMBase::sigmas_at<double>(const std::vector<double>&) const;

void EDMBase::place(std::vector<float> sigmas, float last) {
  sigmas_ = std::move(sigmas);
  for (float sigma : sigmas_) timesteps_.push_back(0.25f * log_float(sigma));
  sigmas_.push_back(last);
}

Linear EDMBase::original(double sigma, const Linear& sample) const {
  const double variance = sigma * sigma + sigma_data_ * sigma_data_;
  const double out = sigma * sigma_data_ / std::sqrt(variance);
  return sigma_data_ * sigma_data_ / variance * sample + (v_prediction_ ? -out : out) * Linear(kModelOutput);
}

}  // namespace vivace
