// UniPCMultistepScheduler: a unified predictor-corrector of any order (arXiv 2302.04867).
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/log.h"
#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_step.h"
#include "schedulers/spacing.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kMostUniPCOrder = 8;  // the paper goes to 3; slots for the history bound it
static_assert(kHistory + 1 + kMostUniPCOrder + 1 <= kMaxSlots);

class UniPCMultistep final : public SchedulerBase {
 public:
  explicit UniPCMultistep(SchedulerConfig config) : noise_(read_noise_schedule(config, {})) {
    solver_order_ = config.integer("solver_order", 2, 1, kMostUniPCOrder);
    predict_x0_ = config.flag("predict_x0", true);
    prediction_type_ = predict_x0_ ? config.choice("prediction_type", {"epsilon", "sample", "v_prediction", "flow_prediction"}, "epsilon")
                                   : config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    bounds_ = read_bounds(config, true, false);
    if (!predict_x0_) bounds_.kind = Bound::none;  // as in Diffusers
    const std::string solver = config.choice("solver_type", {"bh1", "bh2", "midpoint", "heun", "logrho"}, "bh2");
    bh1_ = solver == "bh1";
    if (!bh1_ && solver != "bh2") config.replace("solver_type", "bh2");
    lower_order_final_ = config.flag("lower_order_final", true);
    disable_corrector_ = config.integers("disable_corrector");
    config.only_null("solver_p");
    sigma_spacing_ = read_sigma_spacing(config);
    range_ = read_sigma_range(config, true);
    flow_ = config.flag("use_flow_sigmas", false);
    flow_shift_ = config.number("flow_shift", 1.0);
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    final_zero_ = config.choice("final_sigmas_type", {"zero", "sigma_min"}, "zero") == "zero";
    dynamic_shift_ = config.flag("use_dynamic_shifting", false);
    exponential_shift_ = config.choice("time_shift_type", {"exponential", "linear"}, "exponential") == "exponential";
    shift_terminal_ = config.optional_number("shift_terminal").value_or(0);
    if (config.hidden_number("shift_terminal") && !flow_) config.unsupported("shift_terminal", "null without use_flow_sigmas");
    if (shift_terminal_ == 1) config.unsupported("shift_terminal", "a number other than 1");
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<UniPCMultistep>(*this); }

 protected:
  Takes takes() const override { return {.sigmas = flow_, .mu = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const NoiseLevel level(sigmas_[i], kind());
    return {level.alpha, level.sigma};
  }

 private:
  void place_flow(const SchedulerTimesteps& request, int steps, std::vector<double>& timesteps, std::vector<double>& sigmas) const;
  // Fills timesteps and sigmas; false when the sigmas are not spaced by a formula of their own.
  bool place_spaced(const SchedulerTimesteps& request, int steps, std::vector<double>& timesteps, std::vector<double>& sigmas) const;
  int order_at(int i) const;
  Linear convert_output(int i) const;
  Linear update(int i, int order, const Linear& x, const Linear* corrector_output) const;
  SigmaKind kind() const { return flow_ ? SigmaKind::flow : SigmaKind::scaled; }
  Slot history(int i) const { return static_cast<Slot>(kHistory + 1 + i % (solver_order_ + 1)); }

  NoiseSchedule noise_;
  std::string prediction_type_;
  bool predict_x0_, bh1_, lower_order_final_, flow_, final_zero_, dynamic_shift_, exponential_shift_;
  int solver_order_, steps_offset_;
  double flow_shift_, shift_terminal_;
  std::vector<int64_t> disable_corrector_;
  SigmaSpacing sigma_spacing_;
  SigmaRange range_;
  TimestepSpacing spacing_;
};

bool UniPCMultistep::place_spaced(const SchedulerTimesteps& request, int steps, std::vector<double>& timesteps, std::vector<double>& sigmas) const {
  if (sigma_spacing_ == SigmaSpacing::none) return false;
  // Custom sigmas stand in for the table, ascending or not: the spacing runs from their last to their first.
  std::vector<double> custom_logs;
  custom_logs.reserve(request.sigmas.size());
  for (double sigma : request.sigmas) custom_logs.push_back(std::log(sigma));
  const double first = request.sigmas.empty() ? noise_.sigmas.back() : request.sigmas.back();
  const double last = request.sigmas.empty() ? noise_.sigmas.front() : request.sigmas.front();
  sigmas = space_sigmas(sigma_spacing_, first, last, range_, steps);
  timesteps.clear();
  const bool karras = sigma_spacing_ == SigmaSpacing::karras;
  const std::vector<float> logs = log_sigmas(noise_.sigmas);
  for (double& sigma : sigmas) {
    if (karras && flow_) {
      sigma = sigma / (sigma + 1);
      timesteps.push_back(sigma * num_train_timesteps());
    } else {
      const double t = custom_logs.empty() ? sigma_to_t(sigma, logs) : sigma_to_t(sigma, custom_logs);
      timesteps.push_back(karras ? std::nearbyint(t) : t);
    }
  }
  return true;
}

void UniPCMultistep::place_flow(const SchedulerTimesteps& request, int steps, std::vector<double>& timesteps, std::vector<double>& sigmas) const {
  sigmas = request.sigmas;
  if (sigmas.empty()) {
    sigmas = linspace(1, 1.0 / num_train_timesteps(), steps + 1);
    sigmas.pop_back();
  }
  for (double& sigma : sigmas)
    sigma = dynamic_shift_ ? shift_time(*request.mu, exponential_shift_, sigma) : flow_shift_ * sigma / (1 + (flow_shift_ - 1) * sigma);
  if (shift_terminal_ != 0) stretch_to_terminal(sigmas, shift_terminal_);
  constexpr double kAwayFromOne = 1e-6;  // at 1 the logarithm of alpha is infinite
  if (std::abs(sigmas[0] - 1) < kAwayFromOne) sigmas[0] -= kAwayFromOne;
  timesteps.clear();
  for (double sigma : sigmas) timesteps.push_back(sigma * num_train_timesteps());
}

void UniPCMultistep::place_timesteps(const SchedulerTimesteps& request, int steps) {
  if (dynamic_shift_ && !request.mu) refuse("mu must be given when use_dynamic_shifting is set");
  std::vector<double> timesteps, sigmas;
  double last;
  if (place_spaced(request, steps, timesteps, sigmas)) {
    last = sigmas.back();
  } else if (flow_) {
    place_flow(request, steps, timesteps, sigmas);
    last = sigmas.back();
  } else {
    timesteps = space_timesteps_multistep(spacing_, num_train_timesteps(), num_train_timesteps(), steps, steps_offset_);
    for (double t : timesteps) sigmas.push_back(interpolate(t, noise_.sigmas));
    last = noise_.sigmas.front();
  }
  for (double t : timesteps) timesteps_.push_back(static_cast<float>(std::trunc(t)));
  sigmas_.assign(sigmas.begin(), sigmas.end());
  sigmas_.push_back(final_zero_ ? 0.f : static_cast<float>(last));
}

int UniPCMultistep::order_at(int i) const {
  const int left = static_cast<int>(timesteps_.size()) - i;
  return std::min({lower_order_final_ ? std::min(solver_order_, left) : solver_order_, i - begin_ + 1});
}

Linear UniPCMultistep::convert_output(int i) const {
  const NoiseLevel level(sigmas_[i], kind());
  const double alpha = level.alpha, sigma = level.sigma;
  if (predict_x0_) {
    if (prediction_type_ == "epsilon") return (kSample - sigma * Linear(kModelOutput)) / alpha;
    if (prediction_type_ == "sample") return kModelOutput;
    if (prediction_type_ == "v_prediction") return alpha * Linear(kSample) - sigma * Linear(kModelOutput);
    return kSample - sigmas_[i] * Linear(kModelOutput);
  }
  if (prediction_type_ == "epsilon") return kModelOutput;
  if (prediction_type_ == "sample") return (kSample - alpha * Linear(kModelOutput)) / sigma;
  return alpha * Linear(kModelOutput) + sigma * Linear(kSample);
}

// The step from sigmas_[i] to sigmas_[i + 1] starting at x, over the outputs of steps i, i - 1, ..., i - order + 1. The corrector knows the
// output at its end, too; it repeats the predictor's step with it.
Linear UniPCMultistep::update(int i, int order, const Linear& x, const Linear* corrector_output) const {
  const NoiseLevel t(sigmas_[i + 1], kind()), s0(sigmas_[i], kind());
  const float h = t.lambda - s0.lambda, hh = predict_x0_ ? -h : h;
  const Linear m0 = history(i);
  const float h_phi_1 = expm1_float(hh), b_h = bh1_ ? hh : h_phi_1;
  const float scale = predict_x0_ ? t.alpha : t.sigma, keep = predict_x0_ ? t.sigma / s0.sigma : t.alpha / s0.alpha;
  const Linear base = keep * x - scale * h_phi_1 * m0;

  std::vector<float> rks;
  std::vector<Linear> differences;
  for (int k = 1; k < order; ++k) {
    const float rk = (NoiseLevel(sigmas_[i - k], kind()).lambda - s0.lambda) / h;
    rks.push_back(rk);
    differences.push_back((Linear(history(i - k)) - m0) / rk);
  }
  rks.push_back(1.f);
  if (corrector_output) differences.push_back(*corrector_output - m0);
  const size_t n = differences.size();
  if (n == 0) return base;

  // Row k of the system: sum over j of rks[j]^k rho[j] = b[k].
  std::vector<float> matrix, b;
  float h_phi_k = h_phi_1 / hh - 1.f, factorial = 1;
  for (size_t k = 0; k < n; ++k) {
    for (size_t j = 0; j < n; ++j) matrix.push_back(std::pow(rks[j], static_cast<float>(k)));
    b.push_back(h_phi_k * factorial / b_h);
    factorial *= static_cast<float>(k + 2);
    h_phi_k = h_phi_k / hh - 1.f / factorial;
  }
  // With one unknown the solution tends to a half, which Diffusers takes for it.
  const std::vector<float> rhos = n == 1 ? std::vector<float>{0.5f} : solve(matrix, b);
  Linear sum;
  for (size_t k = 0; k < n; ++k) sum += rhos[k] * differences[k];
  return base - scale * b_h * sum;
}

StepProgram UniPCMultistep::plan_step(int i) const {
  StepProgram program;
  program.assign(history(i), convert_output(i), bounds_.kind);
  const bool correct = i > begin_ && std::ranges::find(disable_corrector_, i - 1) == disable_corrector_.end();
  const Linear output = history(i);
  program.assign(kLastSample, correct ? update(i - 1, order_at(i - 1), kLastSample, &output) : Linear(kSample));
  program.assign(kPrevSample, update(i, order_at(i), kLastSample, nullptr));
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_unipc_multistep(SchedulerConfig config) { return std::make_unique<UniPCMultistep>(std::move(config)); }

}  // namespace vivace
