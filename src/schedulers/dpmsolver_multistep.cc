// DPMSolverMultistepScheduler: DPM-Solver (arXiv 2206.00927), DPM-Solver++ (arXiv 2211.01095) and their SDE variants.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "schedulers/dpm_solver.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_spacing.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kMostMultistepOrder = 3;

class DPMSolverMultistep final : public SchedulerBase {
 public:
  explicit DPMSolverMultistep(SchedulerConfig config) : noise_(read_noise_schedule(config, {})) {
    solver_order_ = std::min(config.integer("solver_order", 2, 1, 1000), kMostMultistepOrder);
    solver_ = read_dpm_solver(config, {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis"});
    output_ = read_solver_output(config, solver_.predicts_original, true);
    bounds_ = read_bounds(config, true, false);
    lower_order_final_ = config.flag("lower_order_final", true);
    euler_at_final_ = config.flag("euler_at_final", false);
    sigma_spacing_ = read_solver_spacing(config);
    lu_lambdas_ = config.flag("use_lu_lambdas", false);
    lambda_min_clipped_ = config.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DPMSolverMultistep>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .mu = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const NoiseLevel level = this->level(i);
    return {level.alpha, level.sigma};
  }

 private:
  std::vector<double> model_timesteps(const SchedulerTimesteps& request, int steps) const;
  int order_at(int i) const;
  NoiseLevel level(int i) const { return {sigmas_[i], sigma_spacing_.kind()}; }
  static Slot history(int i) { return static_cast<Slot>(kHistory + i % kMostMultistepOrder); }

  NoiseSchedule noise_;
  DPMSolver solver_;
  SolverOutput output_;
  bool lower_order_final_, euler_at_final_, lu_lambdas_;
  int solver_order_, steps_offset_;
  double lambda_min_clipped_;
  SolverSpacing sigma_spacing_;
  TimestepSpacing spacing_;
};

std::vector<double> DPMSolverMultistep::model_timesteps(const SchedulerTimesteps& request, int steps) const {
  if (!request.timesteps.empty()) {
    if (sigma_spacing_.own_formula() || lu_lambdas_)
      refuse("custom timesteps do not go with karras, exponential, beta or flow sigmas nor with lu lambdas");
    std::vector<double> timesteps = request.timesteps;
    for (double& t : timesteps) t = std::trunc(t);
    return timesteps;
  }
  const int last = last_timestep(noise_, lambda_min_clipped_);
  if (last < 1) refuse("lambda_min_clipped leaves no timestep");
  return space_timesteps_multistep(spacing_, num_train_timesteps(), last, steps, steps_offset_);
}

void DPMSolverMultistep::place_timesteps(const SchedulerTimesteps& request, int steps) {
  if (request.mu && !sigma_spacing_.set_mu(*request.mu)) refuse("mu needs use_dynamic_shifting");
  std::vector<double> timesteps = model_timesteps(request, steps), sigmas;
  const bool round = noise_.beta_schedule != "squaredcos_cap_v2";
  if (lu_lambdas_ && sigma_spacing_.spacing != SigmaSpacing::karras) {
    const std::vector<float> logs = log_sigmas(noise_.sigmas);
    for (double lambda : linspace(0, 1, steps)) sigmas.push_back(std::exp(logs.back() + lambda * (static_cast<double>(logs.front()) - logs.back())));
    timesteps.clear();
    for (double sigma : sigmas) timesteps.push_back(round ? std::nearbyint(sigma_to_t(sigma, logs)) : sigma_to_t(sigma, logs));
  } else {
    sigmas = sigma_spacing_.place(noise_, timesteps, steps, round);
  }
  for (double t : timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
  sigmas_.assign(sigmas.begin(), sigmas.end());
  sigmas_.push_back(solver_.final_zero ? 0.f : noise_.sigmas.front());
}

int DPMSolverMultistep::order_at(int i) const {
  const MultistepOrder rule{solver_order_, lower_order_final_, euler_at_final_ || solver_.final_zero};
  return multistep_order(rule, i, begin_, static_cast<int>(timesteps_.size()));
}

StepProgram DPMSolverMultistep::plan_step(int i) const {
  StepProgram program;
  Linear output = output_.convert(program, sigmas_[i], sigma_spacing_.kind(), bounds_);
  if (solver_order_ > 1) {
    program.assign(history(i), output);
    output = history(i);
  }
  if (solver_.stochastic) program.draw_noise();
  const int order = order_at(i);
  if (order == 3 && solver_.stochastic && !solver_.predicts_original)
    throw UserError(class_name() + " config: solver_order 3 is not supported with algorithm_type \"sde-dpmsolver\": expected 1 or 2");
  std::vector<NoiseLevel> levels;
  std::vector<Linear> outputs{output};
  for (int k = -1; k < order; ++k) levels.push_back(level(i - k));
  for (int k = 1; k < order; ++k) outputs.push_back(history(i - k));
  program.assign(kPrevSample, solver_.update(levels[0], levels[1], kSample, multistep_expansion(levels, outputs, !solver_.heun)));
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_dpmsolver_multistep(SchedulerConfig config) { return std::make_unique<DPMSolverMultistep>(std::move(config)); }

}  // namespace vivace
