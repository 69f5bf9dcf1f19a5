// KDPM2DiscreteScheduler and KDPM2AncestralDiscreteScheduler: DPM-Solver-2 and its ancestral variant with the midpoint of Karras et al. 2022
// (algorithm 2), two model calls a step.
#include <cmath>
#include <memory>

#include "schedulers/numeric.h"
#include "schedulers/sigma_base.h"

namespace vivace {
namespace {

class KDPM2Discrete final : public SigmaBase {
 public:
  KDPM2Discrete(SchedulerConfig config, bool ancestral)
      : SigmaBase(config, {.noise = {.beta_start = 0.00085, .beta_end = 0.012, .zero_terminal_snr = false}}), ancestral_(ancestral) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "v_prediction"}, "epsilon");
    finish(config, noise_.num_train_timesteps());
  }

  int order() const override { return 2; }
  float input_scale(int i) const override { return scale_at(first(i) ? step_at(i).from : step_at(i - 1).middle, i); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<KDPM2Discrete>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    Levels at = levels({}, steps);
    if (sigma_spacing_ == SigmaSpacing::karras)
      for (double& t : at.timesteps) t = std::nearbyint(t);
    levels_.assign(at.sigmas.begin(), at.sigmas.end());
    levels_.push_back(0.f);
    // As Diffusers' list, which repeats the last 0 more often than a step reads it.
    sigmas_.push_back(levels_[0]);
    for (int k = 1; k <= steps_placed(); ++k) sigmas_.insert(sigmas_.end(), 2, levels_[k]);
    sigmas_.push_back(0.f);
    const std::vector<float> logs = log_sigmas(noise_.sigmas);
    for (int k = 0; k < steps_placed(); ++k) {
      if (k > 0) timesteps_.push_back(sigma_to_t_float(level(k - 1).middle, logs));
      timesteps_.push_back(static_cast<float>(at.timesteps[k]));
    }
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    if (first(i)) {
      const Step step = step_at(i);
      program.assign(kSavedSample, kSample);
      program.assign(kPrevSample, kSample + (step.middle - step.from) * ((kSample - original(step.from)) / step.from));
    } else {
      const Step step = step_at(i - 1);
      Linear previous = kSavedSample + (step.to - step.from) * ((kSample - original(step.middle)) / step.middle);
      if (ancestral_) {
        program.draw_noise();
        previous += step.noise * Linear(kNoise);
      }
      program.assign(kPrevSample, previous);
    }
    return program;
  }

 private:
  // The sigmas of one step; `to` lies below the next level by as much as the noise brings back.
  struct Step {
    float from, middle, to, noise;
  };

  bool first(int i) const { return (i - begin_) % 2 == 0; }
  int steps_placed() const { return static_cast<int>(levels_.size()) - 1; }

  Step level(int k) const {
    const float from = levels_[k], next = levels_[k + 1];
    Step step{from, 0.f, next, 0.f};
    if (ancestral_) {
      step.noise = std::sqrt(next * next * (from * from - next * next) / (from * from));
      step.to = std::sqrt(next * next - step.noise * step.noise);
    }
    // Half way in the logarithm; the last step, to 0, has no middle.
    const float low = log_float(ancestral_ ? from : next), high = log_float(ancestral_ ? step.to : from);
    if (next > 0) step.middle = exp_float(high - (high - low) * 0.5f);
    return step;
  }

  // The step whose first model call is i. A run may begin at the second call of one: Diffusers then takes the sigmas that lie there.
  Step step_at(int i) const {
    if (i % 2 == 0) return level(i / 2);
    if (ancestral_) return level(i / 2 + 1);
    Step step = level(i / 2);
    step.from = levels_[i / 2 + 1];
    step.to = levels_[i / 2 + 1];
    return step;
  }

  bool ancestral_;
  std::vector<float> levels_;  // one a step, and the last 0
};

}  // namespace

std::unique_ptr<Scheduler> make_k_dpm_2_discrete(SchedulerConfig config) { return std::make_unique<KDPM2Discrete>(std::move(config), false); }
std::unique_ptr<Scheduler> make_k_dpm_2_ancestral_discrete(SchedulerConfig config) {
  return std::make_unique<KDPM2Discrete>(std::move(config), true);
}

}  // namespace vivace
