// DDIMScheduler: denoising diffusion implicit models (arXiv 2010.02502), equation 12.
#include <cmath>
#include <memory>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class DDIM final : public SchedulerBase {
 public:
  explicit DDIM(SchedulerConfig config) : noise_(read_noise_schedule(config, {.finite_sigma = false})) {
    bounds_ = read_bounds(config, true, true, true);
    final_alpha_ = config.flag("set_alpha_to_one", true) ? 1.f : noise_.alphas_cumprod.front();
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    spacing_ = read_timestep_spacing(config, "leading");
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DDIM>(*this); }

 protected:
  Takes takes() const override { return {.eta = true}; }
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    timesteps_ = whole_timesteps(spacing_, num_train_timesteps(), steps, steps_offset_);
    stride_ = num_train_timesteps() / steps;
  }

  StepProgram plan_step(int i) const override {
    const int timestep = static_cast<int>(timesteps_[i]), previous = timestep - stride_;
    const float alpha = noise_.alphas_cumprod[train_index(timestep)];
    const float alpha_previous = previous >= 0 ? noise_.alphas_cumprod[train_index(previous)] : final_alpha_;
    const float beta = 1.f - alpha, beta_previous = 1.f - alpha_previous;
    const double sqrt_alpha = std::sqrt(alpha), sqrt_beta = std::sqrt(beta);

    StepProgram program;
    Linear original, epsilon;
    if (prediction_type_ == "epsilon") {
      original = (kSample - sqrt_beta * Linear(kModelOutput)) / signal(sqrt_alpha, bounds_.kind);
      epsilon = kModelOutput;
    } else if (prediction_type_ == "sample") {
      original = kModelOutput;
      epsilon = (kSample - sqrt_alpha * original) / sqrt_beta;
    } else {
      original = sqrt_alpha * Linear(kSample) - sqrt_beta * Linear(kModelOutput);
      epsilon = sqrt_alpha * Linear(kModelOutput) + sqrt_beta * Linear(kSample);
    }
    if (bounds_.kind != Bound::none) {
      program.assign(kPrediction, original, bounds_.kind);
      original = kPrediction;
    }
    const double eta = request_.eta.value_or(0);
    const float variance = beta_previous / beta * (1.f - alpha / alpha_previous);
    const float deviation = static_cast<float>(eta) * std::sqrt(variance);
    if (request_.use_clipped_model_output) epsilon = (kSample - sqrt_alpha * original) / sqrt_beta;
    Linear previous_sample = std::sqrt(alpha_previous) * original + std::sqrt(1.f - alpha_previous - deviation * deviation) * epsilon;
    if (eta > 0) {
      program.draw_noise();
      previous_sample += deviation * Linear(kNoise);
    }
    program.assign(kPrevSample, previous_sample);
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override {
    const float alpha = noise_.alphas_cumprod[train_index(static_cast<int>(timesteps_[i]))];
    return {std::sqrt(alpha), std::sqrt(1.f - alpha)};
  }

 private:
  NoiseSchedule noise_;
  std::string prediction_type_;
  TimestepSpacing spacing_;
  float final_alpha_;
  int steps_offset_, stride_ = 1;
};

}  // namespace

std::unique_ptr<Scheduler> make_ddim(SchedulerConfig config) { return std::make_unique<DDIM>(std::move(config)); }

}  // namespace vivace
