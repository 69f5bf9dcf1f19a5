// FlowMatchEulerDiscreteScheduler and FlowMatchLCMScheduler: Euler's method on rectified flows, and the steps of a consistency model, which start
// anew from the predicted original; the model predicts the velocity, noise minus original.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/log.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

class FlowMatchEulerDiscrete final : public SchedulerBase {
 public:
  FlowMatchEulerDiscrete(SchedulerConfig config, bool consistency) {
    const int train = config.integer("num_train_timesteps", 1000, 1, 1'000'000);
    shift_ = config.number("shift", 1.0);
    if (!(shift_ > 0)) config.unsupported("shift", "a positive number");
    dynamic_shift_ = config.flag("use_dynamic_shifting", false);
    // What pipelines compute mu from.
    config.optional_number("base_shift", 0.5);
    config.optional_number("max_shift", 1.15);
    config.integer("base_image_seq_len", 256, 0, std::numeric_limits<int>::max());
    config.integer("max_image_seq_len", 4096, 0, std::numeric_limits<int>::max());
    invert_sigmas_ = config.flag("invert_sigmas", false);
    shift_terminal_ = config.optional_number("shift_terminal").value_or(0);
    if (shift_terminal_ == 1) config.unsupported("shift_terminal", "a number other than 1");
    sigma_spacing_ = read_sigma_spacing(config);
    range_ = read_sigma_range(config, false);
    exponential_shift_ = config.choice("time_shift_type", {"exponential", "linear"}, "exponential") == "exponential";
    if (consistency) {
      config.only_null("scale_factors");  // latents that grow from step to step
      config.choice("upscale_mode", {"nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"}, "bicubic");
    }
    stochastic_sampling_ = consistency || config.flag("stochastic_sampling", false);
    finish(config, train);
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<FlowMatchEulerDiscrete>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .sigmas = true, .both = true, .mu = true}; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    if (dynamic_shift_ && !request.mu) refuse("mu must be given when use_dynamic_shifting is set");
    std::vector<double> sigmas;
    if (request.sigmas.empty() && request.timesteps.empty()) {
      sigmas = space_flow_sigmas(num_train_timesteps(), dynamic_shift_ ? 1 : shift_, steps);
      shift_sigmas(sigmas, request);
    } else {  // lists given by the caller are float32 from here on
      std::vector<float> given(request.sigmas.begin(), request.sigmas.end());
      if (given.empty())
        for (double t : request.timesteps) given.push_back(static_cast<float>(t) / static_cast<float>(num_train_timesteps()));
      shift_sigmas(given, request);
      sigmas.assign(given.begin(), given.end());
    }
    if (sigma_spacing_ != SigmaSpacing::none) sigmas = space_sigmas(sigma_spacing_, sigmas.front(), sigmas.back(), range_, steps);
    sigmas_.assign(sigmas.begin(), sigmas.end());
    if (invert_sigmas_)
      for (float& sigma : sigmas_) sigma = 1.f - sigma;
    if (request.timesteps.empty() || invert_sigmas_)
      for (float sigma : sigmas_) timesteps_.push_back(sigma * static_cast<float>(num_train_timesteps()));
    else
      timesteps_.assign(request.timesteps.begin(), request.timesteps.end());
    sigmas_.push_back(invert_sigmas_ ? 1.f : 0.f);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const double sigma = sigmas_[i], next = sigmas_[i + 1];
    if (stochastic_sampling_) {
      program.draw_noise();
      const Linear original = kSample - sigma * Linear(kModelOutput);
      program.assign(kPrevSample, (1 - next) * original + next * Linear(kNoise));
    } else {
      program.assign(kPrevSample, kSample + (next - sigma) * Linear(kModelOutput));
    }
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.f - sigmas_[i], sigmas_[i]}; }

 private:
  template <class Real>
  void shift_sigmas(std::vector<Real>& sigmas, const SchedulerTimesteps& request) const {
    for (Real& sigma : sigmas)
      sigma = dynamic_shift_ ? shift_time(*request.mu, exponential_shift_, sigma)
                             : static_cast<Real>(shift_) * sigma / (1 + static_cast<Real>(shift_ - 1) * sigma);
    if (shift_terminal_ != 0) stretch_to_terminal(sigmas, shift_terminal_);
  }

  double shift_, shift_terminal_;
  bool dynamic_shift_, invert_sigmas_, exponential_shift_, stochastic_sampling_;
  SigmaSpacing sigma_spacing_;
  SigmaRange range_;
};

}  // namespace

std::unique_ptr<Scheduler> make_flow_match_euler_discrete(SchedulerConfig config) {
  return std::make_unique<FlowMatchEulerDiscrete>(std::move(config), false);
}
std::unique_ptr<Scheduler> make_flow_match_lcm(SchedulerConfig config) { return std::make_unique<FlowMatchEulerDiscrete>(std::move(config), true); }

}  // namespace vivace
