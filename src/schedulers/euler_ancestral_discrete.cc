// EulerAncestralDiscreteScheduler: an Euler step down past the next noise level, and fresh noise back up to it.
#include <cmath>
#include <memory>

#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class EulerAncestralDiscrete final : public SchedulerBase {
 public:
  explicit EulerAncestralDiscrete(SchedulerConfig config) : noise_(read_noise_schedule(config, {})) {
    v_prediction_ = config.choice("prediction_type", {"epsilon", "v_prediction"}, "epsilon") == "v_prediction";
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  float init_noise_sigma() const override {
    if (sigmas_.empty()) refuse("set_timesteps must be called first");
    return sigma_init_noise(sigmas_, spacing_ == TimestepSpacing::leading);
  }
  float input_scale(int i) const override { return SchedulerBase::input_scale(i) * sigma_input_scale(sigmas_[i]); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<EulerAncestralDiscrete>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    for (double t : space_timesteps(spacing_, noise_.num_train_timesteps(), steps, steps_offset_)) {
      timesteps_.push_back(static_cast<float>(t));
      sigmas_.push_back(static_cast<float>(interpolate(timesteps_.back(), noise_.sigmas)));
    }
    sigmas_.push_back(0.f);
  }

  StepProgram plan_step(int i) const override {
    const float from = sigmas_[i], to = sigmas_[i + 1];
    const float up = std::sqrt(to * to * (from * from - to * to) / (from * from));
    const float down = std::sqrt(to * to - up * up);
    Linear derivative = kModelOutput;
    if (v_prediction_) {
      const double variance = static_cast<double>(from) * from + 1;
      derivative = (kSample - (Linear(kSample) / variance - from / std::sqrt(variance) * Linear(kModelOutput))) / from;
    }
    StepProgram program;
    program.draw_noise();
    program.assign(kPrevSample, kSample + (down - from) * derivative + up * Linear(kNoise));
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.f, sigmas_[i]}; }

 private:
  NoiseSchedule noise_;
  TimestepSpacing spacing_;
  bool v_prediction_;
  int steps_offset_;
};

}  // namespace

std::unique_ptr<Scheduler> make_euler_ancestral_discrete(SchedulerConfig config) {
  return std::make_unique<EulerAncestralDiscrete>(std::move(config));
}

}  // namespace vivace
