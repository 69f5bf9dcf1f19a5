#include "schedulers/consistency_base.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "schedulers/numeric.h"

namespace vivace {

ConsistencyBase::ConsistencyBase(SchedulerConfig& config)
    : noise_(read_noise_schedule(config, {.beta_start = 0.00085, .beta_end = 0.012, .beta_schedule = "scaled_linear", .finite_sigma = false})) {
  original_steps_ = config.integer("original_inference_steps", 50, 1, noise_.num_train_timesteps());
  // These three are fields of the classes, but the timesteps follow from original_inference_steps, and none of them is below zero.
  config.flag("set_alpha_to_one", true);
  config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
  config.choice("timestep_spacing", {"leading", "linspace", "trailing"}, "leading");
  prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
}

std::vector<int> ConsistencyBase::trained_timesteps(const SchedulerTimesteps& request, int original) const {
  const int skip = num_train_timesteps() / original;
  std::vector<int> trained;
  for (int i = 1; i <= static_cast<int>(original * request.strength); ++i) trained.push_back(i * skip - 1);
  return trained;
}

void ConsistencyBase::place_custom(const SchedulerTimesteps& request, const std::vector<int>& trained) {
  std::vector<int> timesteps;
  bool unknown = false;
  for (double t : request.timesteps) {
    timesteps.push_back(static_cast<int>(t));
    if (timesteps.size() > 1) {
      if (timesteps.back() >= timesteps[timesteps.size() - 2]) refuse("custom timesteps must be in descending order");
      unknown |= std::ranges::find(trained, timesteps.back()) == trained.end();
    }
  }
  if (timesteps[0] >= num_train_timesteps()) refuse(cat("custom timesteps must start below num_train_timesteps = ", num_train_timesteps()));
  if (request.strength == 1 && timesteps[0] != num_train_timesteps() - 1)
    warn(class_name(), ": the custom timesteps start at ", timesteps[0], " instead of ", num_train_timesteps() - 1,
         ", which may give unexpected pictures");
  if (unknown) warn(class_name(), ": some custom timesteps are not among those the model was distilled on, which may give unexpected pictures");
  const int n = static_cast<int>(timesteps.size());
  const int kept = std::min(static_cast<int>(n * request.strength), n);
  timesteps_.assign(timesteps.end() - kept, timesteps.end());
}

void ConsistencyBase::place_timesteps(const SchedulerTimesteps& request, int steps) {
  const int original = request.original_inference_steps.value_or(original_steps_);
  if (original < 1 || original > num_train_timesteps())
    refuse(cat("original_inference_steps must be from 1 to num_train_timesteps = ", num_train_timesteps(), ", got ", original));
  if (!(request.strength > 0 && request.strength <= 1)) refuse(cat("strength must be above 0 and at most 1, got ", request.strength));
  const std::vector<int> trained = trained_timesteps(request, original);
  num_inference_steps_ = steps;
  if (!request.timesteps.empty()) {
    place_custom(request, trained);
  } else {
    const int count = static_cast<int>(trained.size()), most = std::min(count, original);
    if (steps > most)
      refuse(cat("num_inference_steps must be at most ", most, " (original_inference_steps ", original, " x strength ", request.strength, "), got ",
                 steps));
    for (double index : linspace(0, count, steps, false)) timesteps_.push_back(static_cast<float>(trained[count - 1 - static_cast<int>(index)]));
  }
  if (timesteps_.empty()) refuse("strength leaves no step");
}

std::pair<float, float> ConsistencyBase::noise_mix(int i) const { return {std::sqrt(alpha(i)), std::sqrt(1.f - alpha(i))}; }

Linear ConsistencyBase::original(float alpha) const {
  const double sqrt_alpha = std::sqrt(alpha), sqrt_beta = std::sqrt(1.f - alpha);
  if (prediction_type_ == "epsilon") return (kSample - sqrt_beta * Linear(kModelOutput)) / signal(sqrt_alpha, bounds_.kind);
  if (prediction_type_ == "v_prediction") return sqrt_alpha * Linear(kSample) - sqrt_beta * Linear(kModelOutput);
  return kModelOutput;
}

}  // namespace vivace
