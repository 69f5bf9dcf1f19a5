// EDMEulerScheduler: Euler's method in the formulation of Karras et al. 2022 (algorithm 2).
#include <memory>

#include "schedulers/edm.h"
#include "schedulers/numeric.h"

namespace vivace {
namespace {

class EDMEuler final : public EDMBase {
 public:
  explicit EDMEuler(SchedulerConfig config) : EDMBase(config) { finish(config, train_); }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<EDMEuler>(*this); }

 protected:
  Takes takes() const override { return {.sigmas = true}; }

  // What Diffusers calls custom sigmas are places in its schedule, from 0 (sigma_max) to 1 (sigma_min).
  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    std::vector<float> sigmas = sigmas_at(request.sigmas.empty() ? linspace(0, 1, steps) : request.sigmas);
    const float last = final_zero_ ? 0.f : sigmas.back();
    place(std::move(sigmas), last);
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    const auto [raised, deviation] = churn(sigmas_[i]);
    Linear sample = kSample;
    if (deviation > 0) {
      program.draw_noise();
      sample += deviation * Linear(kNoise);
    }
    program.assign(kPrevSample, sample + (sigmas_[i + 1] - raised) * ((sample - original(raised, sample)) / raised));
    return program;
  }
};

}  // namespace

std::unique_ptr<Scheduler> make_edm_euler(SchedulerConfig config) { return std::make_unique<EDMEuler>(std::move(config)); }

}  // namespace vivace
