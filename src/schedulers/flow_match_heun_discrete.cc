// FlowMatchHeunDiscreteScheduler: Heun's method on rectified flows, two model calls a step.
#include <memory>
#include <vector>

#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class FlowMatchHeunDiscrete final : public SchedulerBase {
 public:
  explicit FlowMatchHeunDiscrete(SchedulerConfig config) {
    const int train = config.integer("num_train_timesteps", 1000, 1, 1'000'000);
    shift_ = config.number("shift", 1.0);
    if (!(shift_ > 0)) config.unsupported("shift", "a positive number");
    finish(config, train);
  }

  int order() const override { return 2; }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<FlowMatchHeunDiscrete>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    const std::vector<double> flow = space_flow_sigmas(num_train_timesteps(), shift_, steps);
    for (size_t k = 0; k < flow.size(); ++k) {
      const auto sigma = static_cast<float>(shift_ * flow[k] / (1 + (shift_ - 1) * flow[k]));
      sigmas_.insert(sigmas_.end(), k == 0 ? 1 : 2, sigma);
      timesteps_.insert(timesteps_.end(), k == 0 ? 1 : 2, sigma * static_cast<float>(num_train_timesteps()));
    }
    sigmas_.push_back(0.f);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const bool first = (i - begin_) % 2 == 0;
    const float sigma = first ? sigmas_[i] : sigmas_[i - 1], next = first ? sigmas_[i + 1] : sigmas_[i];
    const auto [raised, deviation] = churn(sigma);
    // Diffusers draws for the second call, too, whose sample is then replaced by the first one's: what the noise adds there cancels.
    if (deviation > 0) program.draw_noise();
    if (first) {
      program.assign(kSavedSample, deviation > 0 ? kSample + deviation * Linear(kNoise) : Linear(kSample));
      program.assign(kDerivative, sigma / raised * Linear(kModelOutput));
      program.assign(kPrevSample, kSavedSample + (next - raised) * Linear(kDerivative));
    } else {
      program.assign(kPrevSample, kSavedSample + (next - raised) / 2 * (kDerivative + Linear(kModelOutput)));
    }
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.f - sigmas_[i], sigmas_[i]}; }

 private:
  double shift_;
};

}  // namespace

std::unique_ptr<Scheduler> make_flow_match_heun_discrete(SchedulerConfig config) {
  return std::make_unique<FlowMatchHeunDiscrete>(std::move(config));
}

}  // namespace vivace
