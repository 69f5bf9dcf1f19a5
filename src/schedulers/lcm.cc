// LCMScheduler: multistep sampling of latent consistency models (arXiv 2310.04378).
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/log.h"
#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class LCM final : public SchedulerBase {
 public:
  explicit LCM(SchedulerConfig config)
      : noise_(read_noise_schedule(config, {.beta_start = 0.00085, .beta_end = 0.012, .beta_schedule = "scaled_linear", .finite_sigma = false})) {
    original_steps_ = config.integer("original_inference_steps", 50, 1, noise_.num_train_timesteps());
    bounds_ = read_bounds(config, true, true);
    // These three are fields of the class, but its timesteps follow from original_inference_steps, and none of them is below zero.
    config.flag("set_alpha_to_one", true);
    config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    config.choice("timestep_spacing", {"leading", "linspace", "trailing"}, "leading");
    prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    timestep_scaling_ = static_cast<float>(config.number("timestep_scaling", 10.0));
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<LCM>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .original_inference_steps = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const float alpha = noise_.alphas_cumprod[train_index(static_cast<int>(timesteps_[i]))];
    return {std::sqrt(alpha), std::sqrt(1.f - alpha)};
  }

 private:
  void place_custom(const SchedulerTimesteps& request, const std::vector<int>& trained);

  NoiseSchedule noise_;
  std::string prediction_type_;
  float timestep_scaling_;
  int original_steps_, num_inference_steps_ = 0;
};

void LCM::place_custom(const SchedulerTimesteps& request, const std::vector<int>& trained) {
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
    warn("LCMScheduler: the custom timesteps start at ", timesteps[0], " instead of ", num_train_timesteps() - 1,
         ", which may give unexpected pictures");
  if (unknown) warn("LCMScheduler: some custom timesteps are not among those the model was distilled on, which may give unexpected pictures");
  const int n = static_cast<int>(timesteps.size());
  const int kept = std::min(static_cast<int>(n * request.strength), n);
  timesteps_.assign(timesteps.end() - kept, timesteps.end());
}

void LCM::place_timesteps(const SchedulerTimesteps& request, int steps) {
  const int original = request.original_inference_steps.value_or(original_steps_);
  if (original < 1 || original > num_train_timesteps())
    refuse(cat("original_inference_steps must be from 1 to num_train_timesteps = ", num_train_timesteps(), ", got ", original));
  if (!(request.strength > 0 && request.strength <= 1)) refuse(cat("strength must be above 0 and at most 1, got ", request.strength));
  const int skip = num_train_timesteps() / original;
  std::vector<int> trained;
  for (int i = 1; i <= static_cast<int>(original * request.strength); ++i) trained.push_back(i * skip - 1);
  num_inference_steps_ = steps;
  if (!request.timesteps.empty()) {
    place_custom(request, trained);
  } else {
    const int count = static_cast<int>(trained.size());
    if (steps > count)
      refuse(cat("num_inference_steps must be at most ", count, " (original_inference_steps ", original, " x strength ", request.strength, "), got ",
                 steps));
    for (double index : linspace(0, count, steps, false)) timesteps_.push_back(static_cast<float>(trained[count - 1 - static_cast<int>(index)]));
  }
  if (timesteps_.empty()) refuse("strength leaves no step");
}

StepProgram LCM::plan_step(int i) const {
  const int timestep = static_cast<int>(timesteps_[i]);
  const int previous = static_cast<int>(timesteps_[std::min<size_t>(i + 1, timesteps_.size() - 1)]);
  const float alpha = noise_.alphas_cumprod[train_index(timestep)], alpha_previous = noise_.alphas_cumprod[train_index(previous)];
  const double sqrt_alpha = std::sqrt(alpha), sqrt_beta = std::sqrt(1.f - alpha);

  StepProgram program;
  Linear original = kModelOutput;
  if (prediction_type_ == "epsilon") original = (kSample - sqrt_beta * Linear(kModelOutput)) / signal(sqrt_alpha, bounds_.kind);
  if (prediction_type_ == "v_prediction") original = sqrt_alpha * Linear(kSample) - sqrt_beta * Linear(kModelOutput);
  if (bounds_.kind != Bound::none) {
    program.assign(kPrediction, original, bounds_.kind);
    original = kPrediction;
  }
  // The boundary condition of consistency models: at timestep 0 the output is the sample itself.
  constexpr float kSigmaData = 0.5f;
  const float scaled = static_cast<float>(timestep) * timestep_scaling_, sum = scaled * scaled + kSigmaData * kSigmaData;
  const Linear denoised = scaled / std::sqrt(sum) * original + kSigmaData * kSigmaData / sum * Linear(kSample);
  if (i != num_inference_steps_ - 1) {
    program.draw_noise();
    program.assign(kPrevSample, std::sqrt(alpha_previous) * denoised + std::sqrt(1.f - alpha_previous) * Linear(kNoise));
  } else {
    program.assign(kPrevSample, denoised);
  }
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_lcm(SchedulerConfig config) { return std::make_unique<LCM>(std::move(config)); }

}  // namespace vivace
