// DEISMultistepScheduler: an exponential integrator (arXiv 2204.13902) with polynomials in log rho, rho = sigma / alpha.
#include <algorithm>
#include <memory>
#include <vector>

#include "schedulers/dpm_solver.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_spacing.h"

namespace vivace {
namespace {

constexpr int kMostDeisOrder = 3;

class DEISMultistep final : public SchedulerBase {
 public:
  explicit DEISMultistep(SchedulerConfig config) : noise_(read_noise_schedule(config, {.zero_terminal_snr = false})) {
    solver_order_ = std::min(config.integer("solver_order", 2, 1, 1000), kMostDeisOrder);
    output_ = read_solver_output(config, true, false);
    output_.predicts_original = false;
    bounds_ = read_bounds(config, true, false);
    if (config.choice("algorithm_type", {"deis", "dpmsolver", "dpmsolver++"}, "deis") != "deis") config.replace("algorithm_type", "deis");
    if (config.choice("solver_type", {"logrho", "midpoint", "heun", "bh1", "bh2"}, "logrho") != "logrho") config.replace("solver_type", "logrho");
    lower_order_final_ = config.flag("lower_order_final", true);
    sigma_spacing_ = read_solver_spacing(config);
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DEISMultistep>(*this); }

 protected:
  Takes takes() const override { return {.mu = true}; }

  void place_timesteps(const SchedulerTimesteps& request, int steps) override {
    if (request.mu && !sigma_spacing_.set_mu(*request.mu)) refuse("mu needs use_dynamic_shifting");
    std::vector<double> timesteps = space_timesteps_multistep(spacing_, num_train_timesteps(), num_train_timesteps(), steps, steps_offset_);
    const std::vector<double> sigmas = sigma_spacing_.place(noise_, timesteps, steps, true);
    for (double t : timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
    sigmas_.assign(sigmas.begin(), sigmas.end());
    // The last sigma is the table's least, or once more the last of a list with a formula of its own.
    sigmas_.push_back(sigma_spacing_.own_formula() ? sigmas_.back() : noise_.sigmas.front());
  }

  StepProgram plan_step(int i) const override {
    StepProgram program;
    program.assign(history(i), output_.convert(program, sigmas_[i], sigma_spacing_.kind(), bounds_));
    const int order = multistep_order({solver_order_, lower_order_final_}, i, begin_, static_cast<int>(timesteps_.size()));
    const NoiseLevel t = level(i + 1), s = level(i);
    if (order == 1) {
      program.assign(kPrevSample, DPMSolver{.predicts_original = false}.update(t, s, kSample, {.value = history(i), .first = {}, .second = {}}));
      return program;
    }
    std::vector<float> logs;
    logs.reserve(static_cast<size_t>(order));
    for (int k = 0; k < order; ++k) logs.push_back(log_rho(level(i - k)));
    Linear sum = Linear(kSample) / s.alpha;
    for (int k = 0; k < order; ++k) sum += (integral(t.sigma / t.alpha, logs, k) - integral(s.sigma / s.alpha, logs, k)) * Linear(history(i - k));
    program.assign(kPrevSample, t.alpha * sum);
    return program;
  }

  std::pair<float, float> noise_mix(int i) const override { return {level(i).alpha, level(i).sigma}; }

 private:
  NoiseLevel level(int i) const { return {sigmas_[i], sigma_spacing_.kind()}; }
  static Slot history(int i) { return static_cast<Slot>(kHistory + i % kMostDeisOrder); }
  static float log_rho(const NoiseLevel& level) { return numpy_log(level.sigma / level.alpha); }

  // The antiderivative at rho of the polynomial in log rho that is 1 at logs[k] and 0 at the others, in the reference's order of operations.
  static float integral(float rho, const std::vector<float>& logs, int k) {
    const float x = numpy_log(rho), b = logs[k], c = logs[(k + 1) % logs.size()];
    if (logs.size() == 2) return rho * (-c + x - 1.f) / (b - c);
    const float d = logs[(k + 2) % logs.size()];
    return rho * (c * (d - x + 1.f) - d * x + d + x * x - 2.f * x + 2.f) / ((b - c) * (b - d));
  }

  NoiseSchedule noise_;
  SolverOutput output_;
  bool lower_order_final_;
  int solver_order_, steps_offset_;
  SolverSpacing sigma_spacing_;
  TimestepSpacing spacing_;
};

}  // namespace

std::unique_ptr<Scheduler> make_deis_multistep(SchedulerConfig config) { return std::make_unique<DEISMultistep>(std::move(config)); }

}  // namespace vivace
