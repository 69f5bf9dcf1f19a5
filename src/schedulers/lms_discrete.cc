// LMSDiscreteScheduler: a linear multistep method whose weights are integrals of Lagrange polynomials over the step.
#include <algorithm>
#include <memory>

#include "schedulers/numeric.h"
#include "schedulers/sigma_base.h"

namespace vivace {
namespace {

constexpr int kLmsOrder = 4;

class LMSDiscrete final : public SigmaBase {
 public:
  explicit LMSDiscrete(SchedulerConfig config) : SigmaBase(config, {.noise = {.zero_terminal_snr = false}, .karras_in_range = false}) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    finish(config, noise_.num_train_timesteps());
  }

  float input_scale(int i) const override { return scale_at(sigmas_[i], i); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<LMSDiscrete>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    const Levels at = levels({}, steps);
    timesteps_.assign(at.timesteps.begin(), at.timesteps.end());
    sigmas_.assign(at.sigmas.begin(), at.sigmas.end());
    sigmas_.push_back(0.f);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const double sigma = sigmas_[i];
    program.assign(derivative(i), (kSample - original(sigma)) / sigma);
    // A run that begins in the middle has the weights of its place in the list, but fewer derivatives to weigh, as in Diffusers.
    const int order = std::min(i + 1, kLmsOrder), known = std::min(i - begin_ + 1, order);
    std::vector<double> points;
    points.reserve(static_cast<size_t>(order));
    for (int k = 0; k < order; ++k) points.push_back(sigmas_[i - k]);
    Linear previous = kSample;
    for (int k = 0; k < known; ++k) previous += integrate_lagrange(points, k, sigmas_[i], sigmas_[i + 1]) * Linear(derivative(i - k));
    program.assign(kPrevSample, previous);
    return program;
  }

 private:
  static Slot derivative(int i) { return static_cast<Slot>(kHistory + i % kLmsOrder); }
};

}  // namespace

std::unique_ptr<Scheduler> make_lms_discrete(SchedulerConfig config) { return std::make_unique<LMSDiscrete>(std::move(config)); }

}  // namespace vivace
