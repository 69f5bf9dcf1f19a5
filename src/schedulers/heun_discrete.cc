// HeunDiscreteScheduler: Heun's method (Karras et al. 2022, algorithm 1 without churn), two model calls a step.
#include <memory>

#include "schedulers/sigma_base.h"

namespace vivace {
namespace {

class HeunDiscrete final : public SigmaBase {
 public:
  explicit HeunDiscrete(SchedulerConfig config)
      : SigmaBase(config, {.noise = {.beta_start = 0.00085, .beta_end = 0.012, .exponential = true, .zero_terminal_snr = false}}) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "v_prediction", "sample"}, "epsilon");
    bounds_ = read_bounds(config, false, true);
    finish(config, noise_.num_train_timesteps());
  }

  int order() const override { return 2; }
  float input_scale(int i) const override { return scale_at(sigmas_[i], i); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<HeunDiscrete>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true}; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    const Levels at = levels(request.timesteps, steps);
    // Every level but the first is visited twice: at the end of one step and at the start of the next.
    for (size_t i = 0; i < at.timesteps.size(); ++i) {
      timesteps_.insert(timesteps_.end(), i == 0 ? 1 : 2, static_cast<float>(at.timesteps[i]));
      sigmas_.insert(sigmas_.end(), i == 0 ? 1 : 2, static_cast<float>(at.sigmas[i]));
    }
    sigmas_.push_back(0.f);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const bool first = (i - begin_) % 2 == 0;
    const float sigma = first ? sigmas_[i] : sigmas_[i - 1], next = first ? sigmas_[i + 1] : sigmas_[i];
    const double at = first ? sigma : next;
    Linear predicted = original(at);
    if (bounds_.kind != Bound::none) {
      program.assign(kPrediction, predicted, bounds_.kind);
      predicted = kPrediction;
    }
    const Linear derivative = (kSample - predicted) / at;
    if (first) {
      program.assign(kSavedSample, kSample);
      program.assign(kDerivative, derivative);
      program.assign(kPrevSample, kSample + (next - sigma) * Linear(kDerivative));
    } else {
      program.assign(kPrevSample, kSavedSample + (next - sigma) / 2 * (kDerivative + derivative));
    }
    return program;
  }
};

}  // namespace

std::unique_ptr<Scheduler> make_heun_discrete(SchedulerConfig config) { return std::make_unique<HeunDiscrete>(std::move(config)); }

}  // namespace vivace
