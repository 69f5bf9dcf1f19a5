// DPMSolverSinglestepScheduler: DPM-Solver and DPM-Solver++ as Runge-Kutta methods: two or three model calls make one step of the solver, and
// the samples between are its inner points.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/log.h"
#include "schedulers/dpm_solver.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_spacing.h"

namespace vivace {
namespace {

constexpr int kMostSinglestepOrder = 3;
constexpr Slot kStepSample = kHistory;  // the sample that the solver's step started from

class DPMSolverSinglestep final : public SchedulerBase {
 public:
  explicit DPMSolverSinglestep(SchedulerConfig config) : noise_(read_noise_schedule(config, {.zero_terminal_snr = false})) {
    solver_order_ = config.integer("solver_order", 2, 1, kMostSinglestepOrder);
    solver_ = read_dpm_solver(config, {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "deis"});
    output_ = read_solver_output(config, solver_.predicts_original, true);
    bounds_ = read_bounds(config, true, false);
    if (bounds_.kind != Bound::none && !solver_.predicts_original)
      config.unsupported("thresholding", "false with algorithm_type \"dpmsolver\", whose thresholding fails in Diffusers, too");
    lower_order_final_ = config.flag("lower_order_final", false);
    sigma_spacing_ = read_solver_spacing(config);
    lambda_min_clipped_ = config.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DPMSolverSinglestep>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .mu = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const NoiseLevel level = this->level(i);
    return {level.alpha, level.sigma};
  }

 private:
  Expansion expansion(int i, int order) const;
  NoiseLevel level(int i) const { return {sigmas_[i], sigma_spacing_.kind()}; }
  static Slot history(int i) { return static_cast<Slot>(kHistory + 1 + i % kMostSinglestepOrder); }

  NoiseSchedule noise_;
  DPMSolver solver_;
  SolverOutput output_;
  bool lower_order_final_;
  int solver_order_;
  double lambda_min_clipped_;
  SolverSpacing sigma_spacing_;
  std::vector<int> orders_;  // of each model call
};

// 1, 2, 3, 1, 2, 3, ... With lower_order_final the calls that remain at the end make smaller steps, and the last is of first order.
std::vector<int> order_list(int steps, int order, bool lower_order_final) {
  std::vector<int> orders;
  orders.reserve(static_cast<size_t>(std::max(steps, 0)));
  for (int i = 0; i < steps; ++i) orders.push_back(i % order + 1);
  if (!lower_order_final) return orders;
  if (steps % order == 0 && order > 1) orders.back() = 1;
  return orders;
}

void DPMSolverSinglestep::place_timesteps(const SchedulerTimesteps& request, int steps) {
  if (request.mu && !sigma_spacing_.set_mu(*request.mu)) refuse("mu needs use_dynamic_shifting");
  std::vector<double> timesteps = request.timesteps;
  if (!timesteps.empty()) {
    if (sigma_spacing_.spacing != SigmaSpacing::none) refuse("custom timesteps do not go with karras, exponential or beta sigmas");
    for (double& t : timesteps) t = std::trunc(t);
  } else {
    const int last = last_timestep(noise_, lambda_min_clipped_);
    if (last < 1) refuse("lambda_min_clipped leaves no timestep");
    timesteps = space_timesteps_multistep(TimestepSpacing::linspace, num_train_timesteps(), last, steps, 0);
  }
  const std::vector<double> sigmas = sigma_spacing_.place(noise_, timesteps, steps, true);
  for (double t : timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
  sigmas_.assign(sigmas.begin(), sigmas.end());
  sigmas_.push_back(solver_.final_zero ? 0.f : noise_.sigmas.front());
  const bool uneven = steps % solver_order_ != 0;
  if (!lower_order_final_ && (uneven || solver_.final_zero))
    warn(class_name(), ": lower_order_final counts as true, as in Diffusers: ",
         uneven ? cat(steps, " steps are no multiple of solver_order ", solver_order_) : "final_sigmas_type is \"zero\"");
  orders_ = order_list(steps, solver_order_, lower_order_final_ || uneven || solver_.final_zero);
  if (solver_.final_zero) orders_.back() = 1;
}

// In lambda from the step's first level, whose output is the value that the others are compared with.
Expansion DPMSolverSinglestep::expansion(int i, int order) const {
  const Linear start = history(i - order + 1);
  Expansion out{.value = start, .first = {}, .second = {}, .midpoint = order == 2 && !solver_.heun};
  if (order == 1) return out;
  const float from = level(i - order + 1).lambda, h = level(i + 1).lambda - from, r0 = (level(i).lambda - from) / h;
  const Linear newer = 1.f / r0 * (history(i) - start);
  out.first = newer;
  if (order == 2 || !solver_.heun) return out;
  const float r1 = (level(i - 1).lambda - from) / h;
  const Linear older = 1.f / r1 * (history(i - 1) - start);
  out.first = (r0 * older - r1 * newer) / (r0 - r1);
  out.second = 2 * (newer - older) / (r0 - r1);
  return out;
}

StepProgram DPMSolverSinglestep::plan_step(int i) const {
  StepProgram program;
  program.assign(history(i), output_.convert(program, sigmas_[i], sigma_spacing_.kind(), bounds_));
  if (solver_.stochastic) program.draw_noise();
  const int order = std::min(orders_[i], i - begin_ + 1);
  if (order == 1) program.assign(kStepSample, kSample);
  program.assign(kPrevSample, solver_.update(level(i + 1), level(i - order + 1), kStepSample, expansion(i, order)));
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_dpmsolver_singlestep(SchedulerConfig config) { return std::make_unique<DPMSolverSinglestep>(std::move(config)); }

}  // namespace vivace
