// SASolverScheduler: a stochastic Adams method with a predictor and a corrector (arXiv 2309.05019).
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "schedulers/dpm_solver.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_spacing.h"

namespace vivace {
namespace {

constexpr int kMostSAOrder = 4;
constexpr Slot kLastNoise = static_cast<Slot>(kHistory + 1);

class SASolver final : public SchedulerBase {
 public:
  explicit SASolver(SchedulerConfig config) : noise_(read_noise_schedule(config, {.zero_terminal_snr = false})) {
    predictor_order_ = config.integer("predictor_order", 2, 1, kMostSAOrder);
    corrector_order_ = config.integer("corrector_order", 2, 1, kMostSAOrder);
    predict_x0_ = config.choice("algorithm_type", {"data_prediction", "noise_prediction"}, "data_prediction") == "data_prediction";
    output_ = read_solver_output(config, predict_x0_, true);
    config.only_null("tau_func");  // a function of the timestep, which a file cannot hold
    bounds_ = read_bounds(config, true, false);
    if (bounds_.kind != Bound::none && !predict_x0_)
      config.unsupported("thresholding", "false with algorithm_type \"noise_prediction\", whose thresholding fails in Diffusers, too");
    lower_order_final_ = config.flag("lower_order_final", true);
    sigma_spacing_ = read_solver_spacing(config, false);
    lambda_min_clipped_ = config.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<SASolver>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const float alpha = noise_.alphas_cumprod[train_index(static_cast<int>(timesteps_[i]))];
    return {std::sqrt(alpha), std::sqrt(1.f - alpha)};
  }

 private:
  NoiseLevel level(int i) const { return {sigmas_[i], sigma_spacing_.kind()}; }
  static Slot history(int i) { return static_cast<Slot>(kHistory + 2 + i % kMostSAOrder); }
  // Noise is added in the middle of the schedule only (Diffusers' tau_func).
  float tau_squared(int i) const { return timesteps_[i] >= 200 && timesteps_[i] <= 800 ? 1.f : 0.f; }
  int predictor_order(int i) const;
  int corrector_order(int i) const;
  Linear update(int from, int newest, int order, const Linear& sample, Slot noise) const;

  NoiseSchedule noise_;
  SolverOutput output_;
  bool predict_x0_, lower_order_final_;
  int predictor_order_, corrector_order_, steps_offset_;
  double lambda_min_clipped_;
  SolverSpacing sigma_spacing_;
  TimestepSpacing spacing_;
};

// The coefficients, highest power first, of the Lagrange polynomial that is 1 at points[k] and 0 at the others.
std::vector<float> lagrange_coefficients(std::span<const float> points, int k) {
  std::vector<float> others;
  float denominator = 1;
  for (size_t j = 0; j < points.size(); ++j) {
    if (j == static_cast<size_t>(k)) continue;
    others.push_back(points[j]);
    denominator *= points[k] - points[j];
  }
  if (others.empty()) return {1.f};
  if (others.size() == 1) return {1 / denominator, -others[0] / denominator};
  if (others.size() == 2) return {1 / denominator, (-others[0] - others[1]) / denominator, others[0] * others[1] / denominator};
  return {1 / denominator, (-others[0] - others[1] - others[2]) / denominator,
          (others[0] * others[1] + others[0] * others[2] + others[1] * others[2]) / denominator, -others[0] * others[1] * others[2] / denominator};
}

// The integral from a to b of x^power e^x, or of x^power e^-x.
float integral_positive(int power, float a, float b) {
  const float decay = exp_float(-(b - a)), scale = exp_float(b);
  if (power == 0) return scale * (1 - decay);
  if (power == 1) return scale * ((b - 1) - (a - 1) * decay);
  if (power == 2) return scale * ((b * b - 2 * b + 2) - (a * a - 2 * a + 2) * decay);
  return scale * ((b * b * b - 3 * (b * b) + 6 * b - 6) - (a * a * a - 3 * (a * a) + 6 * a - 6) * decay);
}
float integral_negative(int power, float a, float b) {
  const float growth = exp_float(b - a), scale = exp_float(-b);
  if (power == 0) return scale * (growth - 1);
  if (power == 1) return scale * ((a + 1) * growth - (b + 1));
  if (power == 2) return scale * ((a * a + 2 * a + 2) * growth - (b * b + 2 * b + 2));
  return scale * ((a * a * a + 3 * (a * a) + 6 * a + 6) * growth - (b * b * b + 3 * (b * b) + 6 * b + 6));
}

void SASolver::place_timesteps(const SchedulerTimesteps&, int steps) {
  const int last = last_timestep(noise_, lambda_min_clipped_);
  if (last < 1) refuse("lambda_min_clipped leaves no timestep");
  std::vector<double> timesteps = space_timesteps_multistep(spacing_, num_train_timesteps(), last, steps, steps_offset_);
  const std::vector<double> sigmas = sigma_spacing_.place(noise_, timesteps, steps, true);
  for (double t : timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
  sigmas_.assign(sigmas.begin(), sigmas.end());
  sigmas_.push_back(sigma_spacing_.own_formula() ? sigmas_.back() : noise_.sigmas.front());
}

// Orders grow with the outputs known; a short way to the end lowers them.
int SASolver::predictor_order(int i) const {
  const int left = static_cast<int>(timesteps_.size()) - i;
  return std::min({lower_order_final_ ? std::min(predictor_order_, left) : predictor_order_, i - begin_ + 1});
}
int SASolver::corrector_order(int i) const {
  const int left = static_cast<int>(timesteps_.size()) - i + 1;
  return std::min({lower_order_final_ ? std::min(corrector_order_, left) : corrector_order_, i - begin_ + 2});
}

// The step from sigmas_[from] to the next, over the outputs of steps newest, newest - 1, ...: `from` for the predictor, one more for the corrector.
Linear SASolver::update(int from, int newest, int order, const Linear& sample, Slot noise) const {
  const NoiseLevel t = level(from + 1), s = level(from);
  const float h = t.lambda - s.lambda, tau2 = tau_squared(from), weight = 1 + tau2;
  std::vector<float> lambdas, coefficients;
  for (int k = 0; k < order; ++k) lambdas.push_back(level(newest - k).lambda);
  for (int k = 0; k < order; ++k) {
    const std::vector<float> polynomial = lagrange_coefficients(lambdas, k);
    float sum = 0;
    for (int j = 0; j < order; ++j) {
      const int power = order - 1 - j;
      // With u = (1 + tau^2) lambda the positive integral is one of e^u.
      sum += polynomial[j] * (predict_x0_
                                  ? integral_positive(power, weight * s.lambda, weight * t.lambda) / std::pow(weight, static_cast<float>(power + 1))
                                  : integral_negative(power, s.lambda, t.lambda));
    }
    coefficients.push_back(sum);
  }
  if (predict_x0_ && order == 2) {
    // Diffusers' correction of the second order, which makes it exact for short steps.
    const float excess = (h * weight - 1 + exp_float(weight * -h)) / (weight * weight);
    const float correction = newest == from ? (h * h / 2 - excess) / (s.lambda - level(from - 1).lambda) : h / 2 - excess / h;
    coefficients[0] += exp_float(weight * t.lambda) * correction;
    coefficients[1] -= exp_float(weight * t.lambda) * correction;
  }
  Linear result = predict_x0_ ? exp_float(-tau2 * h) * (t.sigma / s.sigma) * sample : t.alpha / s.alpha * sample;
  for (int k = 0; k < order; ++k) {
    const float scale = predict_x0_ ? weight * t.sigma * exp_float(-tau2 * t.lambda) : -weight * t.alpha;
    result += scale * coefficients[k] * Linear(history(newest - k));
  }
  const float deviation = predict_x0_ ? std::sqrt(1 - exp_float(-2 * tau2 * h)) : tau2 * std::sqrt(exp_float(2 * h) - 1);
  return result + t.sigma * deviation * Linear(noise);
}

StepProgram SASolver::plan_step(int i) const {
  StepProgram program;
  program.draw_noise();
  program.assign(history(i), output_.convert(program, sigmas_[i], sigma_spacing_.kind(), bounds_));
  program.assign(kLastSample, i > begin_ ? update(i - 1, i, corrector_order(i - 1), kLastSample, kLastNoise) : Linear(kSample));
  program.assign(kLastNoise, kNoise);
  program.assign(kPrevSample, update(i, i, predictor_order(i), kLastSample, kNoise));
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_sasolver(SchedulerConfig config) { return std::make_unique<SASolver>(std::move(config)); }

}  // namespace vivace
