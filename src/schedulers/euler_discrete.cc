// EulerDiscreteScheduler: Euler's method on the probability flow ODE (Karras et al. 2022, algorithm 2).
#include <algorithm>
#include <cmath>
#include <memory>

#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class EulerDiscrete final : public SchedulerBase {
 public:
  explicit EulerDiscrete(SchedulerConfig config) : noise_(read_noise_schedule(config, {})) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "v_prediction", "sample", "original_sample"}, "epsilon");
    log_linear_ = config.choice("interpolation_type", {"linear", "log_linear"}, "linear") == "log_linear";
    sigma_spacing_ = read_sigma_spacing(config);
    range_ = read_sigma_range(config, true);
    spacing_ = read_timestep_spacing(config, "linspace");
    const bool continuous = config.choice("timestep_type", {"discrete", "continuous"}, "discrete") == "continuous";
    continuous_ = continuous && prediction_type_ == "v_prediction";  // otherwise Diffusers ignores it
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    final_zero_ = config.choice("final_sigmas_type", {"zero", "sigma_min"}, "zero") == "zero";
    finish(config, noise_.num_train_timesteps());
  }

  float init_noise_sigma() const override {
    if (sigmas_.empty()) refuse("set_timesteps must be called first");
    return sigma_init_noise(sigmas_, spacing_ == TimestepSpacing::leading);
  }
  float input_scale(int i) const override { return SchedulerBase::input_scale(i) * sigma_input_scale(sigmas_[i]); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<EulerDiscrete>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .sigmas = true}; }
  int steps_of(const std::vector<double>& sigmas) const override { return static_cast<int>(sigmas.size()) - 1; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    const std::vector<float> logs = log_sigmas(noise_.sigmas);
    if (!request.sigmas.empty()) {
      sigmas_.assign(request.sigmas.begin(), request.sigmas.end());
      for (int i = 0; i < steps; ++i) timesteps_.push_back(sigma_to_t_float(sigmas_[i], logs));
    } else {
      place_on_table(request, steps, logs);
    }
    if (continuous_) {
      timesteps_.resize(sigmas_.size() - 1);  // log_linear sigmas are one more than the timesteps
      for (size_t i = 0; i < timesteps_.size(); ++i) timesteps_[i] = 0.25f * log_float(sigmas_[i]);
    }
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const float sigma = sigmas_[i], next = sigmas_[i + 1];
    const auto [sigma_hat, deviation] = churn(sigma);
    Linear sample = kSample;
    if (deviation > 0) {
      program.draw_noise();
      sample += deviation * Linear(kNoise);
    }
    // (sample - predicted original) / sigma, with the division done by hand where it cancels.
    Linear derivative;
    if (prediction_type_ == "epsilon") {
      derivative = kModelOutput;
    } else if (prediction_type_ == "v_prediction") {
      const double variance = static_cast<double>(sigma) * sigma + 1;
      derivative = (sample - (sample / variance - sigma / std::sqrt(variance) * Linear(kModelOutput))) / sigma_hat;
    } else {
      derivative = (sample - kModelOutput) / sigma_hat;
    }
    program.assign(kPrevSample, sample + (next - sigma_hat) * derivative);
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.f, sigmas_[i]}; }

 private:
  void place_on_table(const SchedulerTimesteps& request, int steps, const std::vector<float>& logs) {
    if (!request.timesteps.empty()) {
      if (sigma_spacing_ != SigmaSpacing::none) refuse("custom timesteps do not go with karras, exponential or beta sigmas");
      if (continuous_) refuse("custom timesteps do not go with timestep_type \"continuous\"");
      timesteps_.assign(request.timesteps.begin(), request.timesteps.end());
    } else {
      for (double t : space_timesteps(spacing_, noise_.num_train_timesteps(), steps, steps_offset_)) timesteps_.push_back(static_cast<float>(t));
    }
    std::vector<double> sigmas;
    if (log_linear_) {
      for (float log_sigma : linspace_float(logs.back(), logs.front(), steps + 1)) sigmas.push_back(exp_float(log_sigma));
    } else {
      for (float t : timesteps_) sigmas.push_back(interpolate(t, noise_.sigmas));
    }
    if (sigma_spacing_ != SigmaSpacing::none) {
      sigmas = space_sigmas(sigma_spacing_, sigmas.front(), sigmas.back(), range_, steps);
      timesteps_.clear();
      for (double sigma : sigmas) timesteps_.push_back(static_cast<float>(sigma_to_t(sigma, logs)));
    }
    sigmas_.assign(sigmas.begin(), sigmas.end());
    sigmas_.push_back(final_zero_ ? 0.f : noise_.sigmas.front());
  }

  NoiseSchedule noise_;
  std::string prediction_type_;
  SigmaSpacing sigma_spacing_;
  SigmaRange range_;
  TimestepSpacing spacing_;
  bool log_linear_, continuous_, final_zero_;
  int steps_offset_;
};

}  // namespace

std::unique_ptr<Scheduler> make_euler_discrete(SchedulerConfig config) { return std::make_unique<EulerDiscrete>(std::move(config)); }

}  // namespace vivace
