// EDMDPMSolverMultistepScheduler: DPM-Solver++ in the formulation of Karras et al. 2022, as Playground v2.5 uses it.
#include <algorithm>
#include <memory>
#include <vector>

#include "schedulers/dpm_solver.h"
#include "schedulers/edm.h"
#include "schedulers/numeric.h"
#include "schedulers/solver_spacing.h"

namespace vivace {
namespace {

constexpr int kMostEdmOrder = 3;

class EDMDPMSolverMultistep final : public EDMBase {
 public:
  explicit EDMDPMSolverMultistep(SchedulerConfig config) : EDMBase(config) {
    solver_order_ = std::min(config.integer("solver_order", 2, 1, 1000), kMostEdmOrder);
    solver_ = read_dpm_solver(config, {"dpmsolver++", "sde-dpmsolver++"});
    if (solver_.stochastic && solver_order_ > 2) config.unsupported("solver_order", "1 or 2 with algorithm_type \"sde-dpmsolver++\"");
    bounds_ = read_bounds(config, true, false);
    lower_order_final_ = config.flag("lower_order_final", true);
    euler_at_final_ = config.flag("euler_at_final", false);
    finish(config, train_);
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<EDMDPMSolverMultistep>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    place(sigmas_at(linspace_float(0, 1, steps)), final_zero_ ? 0.f : static_cast<float>(sigma_min_));
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    program.assign(history(i), original(sigmas_[i], kSample), bounds_.kind);
    if (solver_.stochastic) program.draw_noise();
    const MultistepOrder rule{solver_order_, lower_order_final_, euler_at_final_ || final_zero_};
    const int order = multistep_order(rule, i, begin_, static_cast<int>(timesteps_.size()));
    std::vector<NoiseLevel> levels;
    std::vector<Linear> outputs;
    outputs.reserve(static_cast<size_t>(order));
    for (int k = -1; k < order; ++k) levels.emplace_back(sigmas_[i - k], SigmaKind::unscaled);
    for (int k = 0; k < order; ++k) outputs.push_back(history(i - k));
    program.assign(kPrevSample, solver_.update(levels[0], levels[1], kSample, multistep_expansion(levels, outputs, !solver_.heun)));
    return program;
  }

 private:
  static Slot history(int i) { return static_cast<Slot>(kHistory + i % kMostEdmOrder); }

  DPMSolver solver_;
  bool lower_order_final_, euler_at_final_;
  int solver_order_;
};

}  // namespace

std::unique_ptr<Scheduler> make_edm_dpmsolver_multistep(SchedulerConfig config) { return std::make_unique<EDMDPMSolverMultistep>(std::move(config)); }

}  // namespace vivace
