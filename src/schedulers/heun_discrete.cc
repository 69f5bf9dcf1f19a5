// HeunDiscreteScheduler: Heun's method (Karras et al. 2022, algorithm 1 without churn), two model calls a step.
#include <cmath>
#include <memory>

#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

constexpr Slot kSavedSample = kHistory;
constexpr Slot kDerivative = static_cast<Slot>(kHistory + 1);

class HeunDiscrete final : public SchedulerBase {
 public:
  explicit HeunDiscrete(SchedulerConfig config)
      : noise_(read_noise_schedule(config, {.beta_start = 0.00085, .beta_end = 0.012, .exponential = true, .zero_terminal_snr = false})) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "v_prediction", "sample"}, "epsilon");
    sigma_spacing_ = read_sigma_spacing(config);
    range_ = read_sigma_range(config, false);
    bounds_ = read_bounds(config, false, true);
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  int order() const override { return 2; }
  float init_noise_sigma() const override {
    if (sigmas_.empty()) refuse("set_timesteps must be called first");
    return sigma_init_noise(sigmas_, spacing_ == TimestepSpacing::leading);
  }
  float input_scale(int i) const override { return SchedulerBase::input_scale(i) * sigma_input_scale(sigmas_[i]); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<HeunDiscrete>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true}; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    std::vector<double> timesteps = request.timesteps;
    if (!timesteps.empty() && sigma_spacing_ != SigmaSpacing::none) refuse("custom timesteps do not go with karras, exponential or beta sigmas");
    if (timesteps.empty()) timesteps = space_timesteps(spacing_, noise_.num_train_timesteps(), steps, steps_offset_);
    std::vector<double> sigmas;
    for (double& t : timesteps) {
      t = static_cast<float>(t);
      sigmas.push_back(interpolate(t, noise_.sigmas));
    }
    if (sigma_spacing_ != SigmaSpacing::none) {
      sigmas = space_sigmas(sigma_spacing_, sigmas.front(), sigmas.back(), range_, steps);
      const std::vector<float> logs = log_sigmas(noise_.sigmas);
      timesteps.clear();
      for (double sigma : sigmas) timesteps.push_back(sigma_to_t(sigma, logs));
    }
    // Every level but the first is visited twice: at the end of one step and at the start of the next.
    for (size_t i = 0; i < timesteps.size(); ++i) {
      timesteps_.insert(timesteps_.end(), i == 0 ? 1 : 2, static_cast<float>(timesteps[i]));
      sigmas_.insert(sigmas_.end(), i == 0 ? 1 : 2, static_cast<float>(sigmas[i]));
    }
    sigmas_.push_back(0.f);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const bool first = (i - begin_) % 2 == 0;
    const float sigma = first ? sigmas_[i] : sigmas_[i - 1], next = first ? sigmas_[i + 1] : sigmas_[i];
    const double at = first ? sigma : next, variance = at * at + 1;
    Linear original = kModelOutput;
    if (prediction_type_ == "epsilon") original = kSample - at * Linear(kModelOutput);
    if (prediction_type_ == "v_prediction") original = Linear(kSample) / variance - at / std::sqrt(variance) * Linear(kModelOutput);
    if (bounds_.kind != Bound::none) {
      program.assign(kPrediction, original, bounds_.kind);
      original = kPrediction;
    }
    const Linear derivative = (kSample - original) / at;
    if (first) {
      program.assign(kSavedSample, kSample);
      program.assign(kDerivative, derivative);
      program.assign(kPrevSample, kSample + (next - sigma) * Linear(kDerivative));
    } else {
      program.assign(kPrevSample, kSavedSample + (next - sigma) / 2 * (kDerivative + derivative));
    }
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.f, sigmas_[i]}; }

 private:
  NoiseSchedule noise_;
  std::string prediction_type_;
  SigmaSpacing sigma_spacing_;
  SigmaRange range_;
  TimestepSpacing spacing_;
  int steps_offset_;
};

}  // namespace

std::unique_ptr<Scheduler> make_heun_discrete(SchedulerConfig config) { return std::make_unique<HeunDiscrete>(std::move(config)); }

}  // namespace vivace
