// DDPMScheduler: ancestral sampling of denoising diffusion probabilistic models (arXiv 2006.11239), equations 7 and 15.
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/log.h"
#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class DDPM final : public SchedulerBase {
 public:
  explicit DDPM(SchedulerConfig config) : noise_(read_noise_schedule(config, {.laplace_and_sigmoid = true, .finite_sigma = false})) {
    bounds_ = read_bounds(config, true, true, true);
    // "learned" and "learned_range" are predicted by pixel models beside the noise; what Diffusers makes of "fixed_large_log" is not a number.
    large_variance_ = config.choice("variance_type", {"fixed_small", "fixed_small_log", "fixed_large"}, "fixed_small") == "fixed_large";
    prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    spacing_ = read_timestep_spacing(config, "leading");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DDPM>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true}; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    if (request.timesteps.empty()) {
      timesteps_ = whole_timesteps(spacing_, num_train_timesteps(), steps, steps_offset_);
      return;
    }
    for (double t : request.timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
    if (std::ranges::adjacent_find(timesteps_, std::less_equal<>()) != timesteps_.end()) refuse("custom timesteps must be in descending order");
    if (timesteps_[0] >= static_cast<float>(num_train_timesteps()))
      refuse(cat("custom timesteps must start below num_train_timesteps = ", num_train_timesteps()));
  }

  StepProgram plan_step(int i) const override {
    const bool last = static_cast<size_t>(i) + 1 == timesteps_.size();
    const float alpha = alpha_at(timesteps_[i]), alpha_previous = last || timesteps_[i + 1] < 0 ? 1.f : alpha_at(timesteps_[i + 1]);
    const float beta = 1.f - alpha, beta_previous = 1.f - alpha_previous;
    const float step_alpha = alpha / alpha_previous, step_beta = 1.f - step_alpha;

    StepProgram program;
    Linear original = kModelOutput;
    if (prediction_type_ == "epsilon") original = (kSample - std::sqrt(beta) * Linear(kModelOutput)) / signal(std::sqrt(alpha), bounds_.kind);
    if (prediction_type_ == "v_prediction") original = std::sqrt(alpha) * Linear(kSample) - std::sqrt(beta) * Linear(kModelOutput);
    if (bounds_.kind != Bound::none) {
      program.assign(kPrediction, original, bounds_.kind);
      original = kPrediction;
    }
    Linear previous = std::sqrt(alpha_previous) * step_beta / beta * original + std::sqrt(step_alpha) * beta_previous / beta * Linear(kSample);
    if (timesteps_[i] > 0) {
      program.draw_noise();
      previous += std::sqrt(large_variance_ ? step_beta : std::max(beta_previous / beta * step_beta, 1e-20f)) * Linear(kNoise);
    }
    program.assign(kPrevSample, previous);
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {std::sqrt(alpha_at(timesteps_[i])), std::sqrt(1.f - alpha_at(timesteps_[i]))}; }

 private:
  float alpha_at(float timestep) const { return noise_.alphas_cumprod[train_index(static_cast<int>(timestep))]; }

  NoiseSchedule noise_;
  std::string prediction_type_;
  TimestepSpacing spacing_;
  int steps_offset_;
  bool large_variance_;
};

}  // namespace

std::unique_ptr<Scheduler> make_ddpm(SchedulerConfig config) { return std::make_unique<DDPM>(std::move(config)); }

}  // namespace vivace
