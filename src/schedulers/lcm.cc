// LCMScheduler: multistep sampling of latent consistency models (arXiv 2310.04378).
#include <algorithm>
#include <cmath>
#include <memory>

#include "schedulers/consistency_base.h"

namespace vivace {
namespace {

class LCM final : public ConsistencyBase {
 public:
  explicit LCM(SchedulerConfig config) : ConsistencyBase(config) {
    bounds_ = read_bounds(config, true, true);
    timestep_scaling_ = static_cast<float>(config.number("timestep_scaling", 10.0));
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<LCM>(*this); }

 protected:
  StepProgram plan_step(int i) const override {
    const float alpha_previous = alpha(std::min(i + 1, static_cast<int>(timesteps_.size()) - 1));
    StepProgram program;
    Linear predicted = original(alpha(i));
    if (bounds_.kind != Bound::none) {
      program.assign(kPrediction, predicted, bounds_.kind);
      predicted = kPrediction;
    }
    // The boundary condition of consistency models: at timestep 0 the output is the sample itself.
    constexpr float kSigmaData = 0.5f;
    const float scaled = timesteps_[i] * timestep_scaling_, sum = scaled * scaled + kSigmaData * kSigmaData;
    const Linear denoised = scaled / std::sqrt(sum) * predicted + kSigmaData * kSigmaData / sum * Linear(kSample);
    if (!is_last(i)) {
      program.draw_noise();
      program.assign(kPrevSample, std::sqrt(alpha_previous) * denoised + std::sqrt(1.f - alpha_previous) * Linear(kNoise));
    } else {
      program.assign(kPrevSample, denoised);
    }
    return program;
  }

 private:
  float timestep_scaling_;
};

}  // namespace

std::unique_ptr<Scheduler> make_lcm(SchedulerConfig config) { return std::make_unique<LCM>(std::move(config)); }

}  // namespace vivace
