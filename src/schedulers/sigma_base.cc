#include "schedulers/sigma_base.h"

#include <cmath>

#include "schedulers/numeric.h"

namespace vivace {

SigmaBase::SigmaBase(SchedulerConfig& config, const Rules& rules)
    : noise_(read_noise_schedule(config, rules.noise)), float_timesteps_(rules.float_timesteps) {
  sigma_spacing_ = read_sigma_spacing(config);
  range_ = read_sigma_range(config, false);
  if (sigma_spacing_ == SigmaSpacing::karras && !rules.karras_in_range) range_ = {};
  spacing_ = read_timestep_spacing(config, "linspace");
  steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
}

float SigmaBase::init_noise_sigma() const {
  if (sigmas_.empty()) refuse("set_timesteps must be called first");
  return sigma_init_noise(sigmas_, spacing_ == TimestepSpacing::leading);
}

SigmaBase::Levels SigmaBase::levels(const std::vector<double>& timesteps, int steps) const {
  Levels out{.timesteps = timesteps, .sigmas = {}};
  if (!timesteps.empty() && sigma_spacing_ != SigmaSpacing::none) refuse("custom timesteps do not go with karras, exponential or beta sigmas");
  if (timesteps.empty()) out.timesteps = space_timesteps(spacing_, noise_.num_train_timesteps(), steps, steps_offset_);
  for (double& t : out.timesteps) {
    if (float_timesteps_) t = static_cast<float>(t);
    out.sigmas.push_back(interpolate(t, noise_.sigmas));
  }
  if (sigma_spacing_ == SigmaSpacing::none) return out;
  out.sigmas = space_sigmas(sigma_spacing_, out.sigmas.front(), out.sigmas.back(), range_, steps);
  const std::vector<float> logs = log_sigmas(noise_.sigmas);
  out.timesteps.clear();
  for (double sigma : out.sigmas) out.timesteps.push_back(sigma_to_t(sigma, logs));
  return out;
}

Linear SigmaBase::original(double sigma) const {
  const double variance = sigma * sigma + 1;
  if (prediction_type_ == "epsilon") return kSample - sigma * Linear(kModelOutput);
  if (prediction_type_ == "v_prediction") return Linear(kSample) / variance - sigma / std::sqrt(variance) * Linear(kModelOutput);
  return kModelOutput;
}

}  // namespace vivace
