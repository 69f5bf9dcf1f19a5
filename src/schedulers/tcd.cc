// TCDScheduler: strategic stochastic sampling of trajectory consistency distillation (arXiv 2402.19159).
#include <cmath>
#include <memory>
#include <numeric>

#include "base/log.h"
#include "schedulers/consistency_base.h"

namespace vivace {
namespace {

class TCD final : public ConsistencyBase {
 public:
  explicit TCD(SchedulerConfig config) : ConsistencyBase(config) {
    // Fields of the class whose values no step reads, as in Diffusers: its predicted originals are never bounded.
    read_bounds(config, true, true);
    config.number("timestep_scaling", 10.0);
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<TCD>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .original_inference_steps = true, .eta = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    eta_ = request.eta.value_or(0.3);
    if (!(eta_ >= 0 && eta_ <= 1)) refuse(cat("eta must be from 0 to 1, got ", eta_));
    ConsistencyBase::place_timesteps(request, steps);
  }

  // With original_inference_steps in the call, and not only in the config, every training timestep may be taken.
  std::vector<int> trained_timesteps(const SchedulerTimesteps& request, int original) const override {
    if (!request.original_inference_steps) return ConsistencyBase::trained_timesteps(request, original);
    std::vector<int> all(static_cast<size_t>(num_train_timesteps() * request.strength));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  StepProgram plan_step(int i) const override {
    const float at = alpha(i);
    const bool is_end = i + 1 == static_cast<int>(timesteps_.size());
    const float previous = is_end ? 0.f : timesteps_[i + 1];
    const float target = std::floor(static_cast<float>(1 - eta_) * previous);  // down to here without noise, and back up to `previous` with it
    const float alpha_previous = noise_.alphas_cumprod[train_index(static_cast<int>(previous))];
    const float alpha_target = noise_.alphas_cumprod[train_index(static_cast<int>(target))];
    const double sqrt_alpha = std::sqrt(at), sqrt_beta = std::sqrt(1.f - at);

    Linear epsilon = kModelOutput;
    if (prediction_type_ == "sample") epsilon = (kSample - sqrt_alpha * Linear(kModelOutput)) / sqrt_beta;
    if (prediction_type_ == "v_prediction") epsilon = sqrt_alpha * Linear(kModelOutput) + sqrt_beta * Linear(kSample);
    Linear result = std::sqrt(alpha_target) * original(at) + std::sqrt(1.f - alpha_target) * epsilon;
    StepProgram program;
    if (eta_ > 0 && !is_last(i)) {
      program.draw_noise();
      const float ratio = alpha_previous / alpha_target;
      result = std::sqrt(ratio) * result + std::sqrt(1.f - ratio) * Linear(kNoise);
    }
    program.assign(kPrevSample, result);
    return program;
  }

 private:
  double eta_ = 0;
};

}  // namespace

std::unique_ptr<Scheduler> make_tcd(SchedulerConfig config) { return std::make_unique<TCD>(std::move(config)); }

}  // namespace vivace
