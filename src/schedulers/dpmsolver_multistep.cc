// DPMSolverMultistepScheduler: DPM-Solver (arXiv 2206.00927), DPM-Solver++ (arXiv 2211.01095) and their SDE variants.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "schedulers/noise_schedule.h"
#include "schedulers/numeric.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/solver_step.h"
#include "schedulers/spacing.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kMostOrder = 3;

class DPMSolverMultistep final : public SchedulerBase {
 public:
  explicit DPMSolverMultistep(SchedulerConfig config) : noise_(read_noise_schedule(config, {})) {
    solver_order_ = std::min(config.integer("solver_order", 2, 1, 1000), kMostOrder);
    read_algorithm(config);
    prediction_type_ = predicts_original_ ? config.choice("prediction_type", {"epsilon", "sample", "v_prediction", "flow_prediction"}, "epsilon")
                                          : config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    bounds_ = read_bounds(config, true, false);
    lower_order_final_ = config.flag("lower_order_final", true);
    euler_at_final_ = config.flag("euler_at_final", false);
    sigma_spacing_ = read_sigma_spacing(config);
    range_ = read_sigma_range(config, false);
    lu_lambdas_ = config.flag("use_lu_lambdas", false);
    flow_ = config.flag("use_flow_sigmas", false);
    flow_shift_ = config.number("flow_shift", 1.0);
    lambda_min_clipped_ = config.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
    // Models that also predict a variance; the other values concern DDPM alone.
    const std::string variance = config.optional_text("variance_type").value_or("");
    if (variance.starts_with("learned") && prediction_type_ == "epsilon")
      config.unsupported("variance_type", "null, as this scheduler does not read a predicted variance");
    spacing_ = read_timestep_spacing(config, "linspace");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    dynamic_shift_ = config.flag("use_dynamic_shifting", false);
    config.choice("time_shift_type", {"exponential"}, "exponential");
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DPMSolverMultistep>(*this); }

 protected:
  Takes takes() const override { return {.timesteps = true, .mu = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override;
  std::pair<float, float> noise_mix(int i) const override {
    const NoiseLevel level(sigmas_[i], flow_);
    return {level.alpha, level.sigma};
  }

 private:
  void read_algorithm(SchedulerConfig& config);
  std::vector<double> model_timesteps(const SchedulerTimesteps& request, int steps) const;
  int order_at(int i) const;
  Linear convert_output(StepProgram& program, int i) const;
  Linear first_order(int i, const Linear& m0) const;
  Linear second_order(int i, const std::array<Linear, kMostOrder>& m) const;
  Linear third_order(int i, const std::array<Linear, kMostOrder>& m) const;
  static Slot history(int i) { return static_cast<Slot>(kHistory + i % kMostOrder); }
  float noise_scale(const NoiseLevel& target, float h) const;

  NoiseSchedule noise_;
  std::string prediction_type_;
  bool predicts_original_, stochastic_, heun_, lower_order_final_, euler_at_final_, lu_lambdas_, flow_, dynamic_shift_, final_zero_;
  int solver_order_, steps_offset_;
  double flow_shift_, lambda_min_clipped_;
  SigmaSpacing sigma_spacing_;
  SigmaRange range_;
  TimestepSpacing spacing_;
};

void DPMSolverMultistep::read_algorithm(SchedulerConfig& config) {
  std::string algorithm = config.choice("algorithm_type", {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis"}, "dpmsolver++");
  final_zero_ = config.choice("final_sigmas_type", {"zero", "sigma_min"}, "zero") == "zero";
  if (final_zero_ && !algorithm.ends_with("++"))
    config.unsupported("algorithm_type", "\"dpmsolver++\" or \"sde-dpmsolver++\", or final_sigmas_type \"sigma_min\" with it");
  if (algorithm == "deis") config.replace("algorithm_type", algorithm = "dpmsolver++");
  const std::string solver = config.choice("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}, "midpoint");
  heun_ = solver == "heun";
  if (!heun_ && solver != "midpoint") config.replace("solver_type", "midpoint");
  predicts_original_ = algorithm.ends_with("++");
  stochastic_ = algorithm.starts_with("sde");
}

std::vector<double> DPMSolverMultistep::model_timesteps(const SchedulerTimesteps& request, int steps) const {
  if (!request.timesteps.empty()) {
    if (sigma_spacing_ != SigmaSpacing::none || lu_lambdas_ || flow_)
      refuse("custom timesteps do not go with karras, exponential, beta or flow sigmas nor with lu lambdas");
    std::vector<double> timesteps = request.timesteps;
    for (double& t : timesteps) t = std::trunc(t);
    return timesteps;
  }
  // Timesteps whose log signal-to-noise ratio lies below the bound are left out; lambda falls as the timestep rises.
  int last = num_train_timesteps();
  while (last > 0 && NoiseLevel::training_lambda(noise_.alphas_cumprod[last - 1]) < lambda_min_clipped_) --last;
  if (last < 1) refuse("lambda_min_clipped leaves no timestep");
  return space_timesteps_multistep(spacing_, num_train_timesteps(), last, steps, steps_offset_);
}

void DPMSolverMultistep::place_timesteps(const SchedulerTimesteps& request, int steps) {
  if (request.mu) {
    if (!dynamic_shift_) refuse("mu needs use_dynamic_shifting");
    flow_shift_ = std::exp(*request.mu);
  }
  std::vector<double> timesteps = model_timesteps(request, steps), sigmas;
  const std::vector<float> logs = log_sigmas(noise_.sigmas);
  const double first = noise_.sigmas.back(), last = noise_.sigmas.front();
  bool search = true;  // timesteps follow from the sigmas
  bool round = false;
  if (sigma_spacing_ == SigmaSpacing::karras) {
    sigmas = space_sigmas(sigma_spacing_, first, last, range_, steps);
    round = noise_.beta_schedule != "squaredcos_cap_v2";
  } else if (lu_lambdas_) {
    for (double lambda : linspace(0, 1, steps)) sigmas.push_back(std::exp(logs.back() + lambda * (static_cast<double>(logs.front()) - logs.back())));
    round = noise_.beta_schedule != "squaredcos_cap_v2";
  } else if (sigma_spacing_ != SigmaSpacing::none) {
    sigmas = space_sigmas(sigma_spacing_, first, last, range_, steps);
  } else if (flow_) {
    timesteps.clear();
    for (double alpha : linspace(1, 1.0 / num_train_timesteps(), steps + 1)) {
      const double sigma = 1.0 - alpha;
      sigmas.push_back(flow_shift_ * sigma / (1 + (flow_shift_ - 1) * sigma));
    }
    std::ranges::reverse(sigmas);
    sigmas.pop_back();
    for (double sigma : sigmas) timesteps.push_back(sigma * num_train_timesteps());
    search = false;
  } else {
    for (double t : timesteps) sigmas.push_back(interpolate(t, noise_.sigmas));
    search = false;
  }
  if (search) {
    timesteps.clear();
    for (double sigma : sigmas) timesteps.push_back(sigma_to_t(sigma, logs));
  }
  for (double t : timesteps) timesteps_.push_back(static_cast<float>(round ? std::nearbyint(t) : std::trunc(t)));
  sigmas_.assign(sigmas.begin(), sigmas.end());
  sigmas_.push_back(final_zero_ ? 0.f : noise_.sigmas.front());
}

int DPMSolverMultistep::order_at(int i) const {
  const int count = static_cast<int>(timesteps_.size());
  const bool lower_final = i == count - 1 && (euler_at_final_ || (lower_order_final_ && count < 15) || final_zero_);
  const bool lower_second = i == count - 2 && lower_order_final_ && count < 15;
  const int known = std::min(i - begin_ + 1, solver_order_);
  return lower_final ? 1 : lower_second ? std::min(known, 2) : known;
}

Linear DPMSolverMultistep::convert_output(StepProgram& program, int i) const {
  const NoiseLevel level(sigmas_[i], flow_);
  const double alpha = level.alpha, sigma = level.sigma;
  Linear original, epsilon;
  if (prediction_type_ == "epsilon") {
    original = (kSample - sigma * Linear(kModelOutput)) / alpha;
    epsilon = kModelOutput;
  } else if (prediction_type_ == "sample") {
    original = kModelOutput;
    epsilon = (kSample - alpha * original) / sigma;
  } else if (prediction_type_ == "v_prediction") {
    original = alpha * Linear(kSample) - sigma * Linear(kModelOutput);
    epsilon = alpha * Linear(kModelOutput) + sigma * Linear(kSample);
  } else {
    original = kSample - sigmas_[i] * Linear(kModelOutput);
  }
  if (bounds_.kind != Bound::none) {
    if (!predicts_original_) original = (kSample - sigma * epsilon) / alpha;
    program.assign(kPrediction, original, bounds_.kind);
    original = kPrediction;
    epsilon = (kSample - alpha * original) / sigma;
  }
  return predicts_original_ ? original : epsilon;
}

float DPMSolverMultistep::noise_scale(const NoiseLevel& target, float h) const {
  return target.sigma * (predicts_original_ ? std::sqrt(1.f - exp_float(-2 * h)) : std::sqrt(exp_float(2 * h) - 1.f));
}

Linear DPMSolverMultistep::first_order(int i, const Linear& m0) const {
  const NoiseLevel t(sigmas_[i + 1], flow_), s(sigmas_[i], flow_);
  const float h = t.lambda - s.lambda;
  if (predicts_original_ && !stochastic_) return t.sigma / s.sigma * Linear(kSample) - t.alpha * (exp_float(-h) - 1.f) * m0;
  if (!stochastic_) return t.alpha / s.alpha * Linear(kSample) - t.sigma * (exp_float(h) - 1.f) * m0;
  const Linear noise = noise_scale(t, h) * Linear(kNoise);
  if (predicts_original_) return t.sigma / s.sigma * exp_float(-h) * Linear(kSample) + t.alpha * (1.f - exp_float(-2 * h)) * m0 + noise;
  return t.alpha / s.alpha * Linear(kSample) - 2 * (t.sigma * (exp_float(h) - 1.f)) * m0 + noise;
}

Linear DPMSolverMultistep::second_order(int i, const std::array<Linear, kMostOrder>& m) const {
  const NoiseLevel t(sigmas_[i + 1], flow_), s0(sigmas_[i], flow_), s1(sigmas_[i - 1], flow_);
  const float h = t.lambda - s0.lambda, r0 = (s0.lambda - s1.lambda) / h;
  const Linear d0 = m[0], d1 = 1.f / r0 * (m[0] - m[1]);
  if (predicts_original_ && !stochastic_) {
    const float phi = exp_float(-h) - 1.f;
    const Linear base = t.sigma / s0.sigma * Linear(kSample) - t.alpha * phi * d0;
    return heun_ ? base + t.alpha * (phi / h + 1.f) * d1 : base - 0.5f * (t.alpha * phi) * d1;
  }
  if (!stochastic_) {
    const float phi = exp_float(h) - 1.f;
    const Linear base = t.alpha / s0.alpha * Linear(kSample) - t.sigma * phi * d0;
    return heun_ ? base - t.sigma * (phi / h - 1.f) * d1 : base - 0.5f * (t.sigma * phi) * d1;
  }
  const Linear noise = noise_scale(t, h) * Linear(kNoise);
  if (predicts_original_) {
    const float phi = 1.f - exp_float(-2 * h);
    const Linear base = t.sigma / s0.sigma * exp_float(-h) * Linear(kSample) + t.alpha * phi * d0 + noise;
    return heun_ ? base + t.alpha * (phi / (-2 * h) + 1.f) * d1 : base + 0.5f * (t.alpha * phi) * d1;
  }
  const float phi = exp_float(h) - 1.f;
  const Linear base = t.alpha / s0.alpha * Linear(kSample) - 2 * (t.sigma * phi) * d0 + noise;
  return heun_ ? base - 2 * (t.sigma * (phi / h - 1.f)) * d1 : base - t.sigma * phi * d1;
}

Linear DPMSolverMultistep::third_order(int i, const std::array<Linear, kMostOrder>& m) const {
  const NoiseLevel t(sigmas_[i + 1], flow_), s0(sigmas_[i], flow_), s1(sigmas_[i - 1], flow_), s2(sigmas_[i - 2], flow_);
  const float h = t.lambda - s0.lambda, r0 = (s0.lambda - s1.lambda) / h, r1 = (s1.lambda - s2.lambda) / h;
  const Linear d1_0 = 1.f / r0 * (m[0] - m[1]), d1_1 = 1.f / r1 * (m[1] - m[2]);
  if (stochastic_ && !predicts_original_)
    throw UserError(class_name() + " config: solver_order 3 is not supported with algorithm_type \"sde-dpmsolver\": expected 1 or 2");
  const Linear d0 = m[0], d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1), d2 = 1.f / (r0 + r1) * (d1_0 - d1_1);
  if (!predicts_original_) {
    const float phi = exp_float(h) - 1.f;
    return t.alpha / s0.alpha * Linear(kSample) - t.sigma * phi * d0 - t.sigma * (phi / h - 1.f) * d1 - t.sigma * ((phi - h) / (h * h) - 0.5f) * d2;
  }
  if (!stochastic_) {
    const float phi = exp_float(-h) - 1.f;
    return t.sigma / s0.sigma * Linear(kSample) - t.alpha * phi * d0 + t.alpha * (phi / h + 1.f) * d1 - t.alpha * ((phi + h) / (h * h) - 0.5f) * d2;
  }
  const float phi = 1.f - exp_float(-2 * h);
  return t.sigma / s0.sigma * exp_float(-h) * Linear(kSample) + t.alpha * phi * d0 + t.alpha * (phi / (-2 * h) + 1.f) * d1 +
         t.alpha * ((phi - 2 * h) / (4 * h * h) - 0.5f) * d2 + noise_scale(t, h) * Linear(kNoise);
}

StepProgram DPMSolverMultistep::plan_step(int i) const {
  StepProgram program;
  Linear output = convert_output(program, i);
  if (solver_order_ > 1) {
    program.assign(history(i), output);
    output = history(i);
  }
  if (stochastic_) program.draw_noise();
  const int order = order_at(i);
  Linear previous;
  if (order == 1) {
    previous = first_order(i, output);
  } else {
    const std::array<Linear, kMostOrder> m{output, Linear(history(i - 1)), order > 2 ? Linear(history(i - 2)) : Linear()};
    previous = order == 2 ? second_order(i, m) : third_order(i, m);
  }
  program.assign(kPrevSample, previous);
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_dpmsolver_multistep(SchedulerConfig config) { return std::make_unique<DPMSolverMultistep>(std::move(config)); }

}  // namespace vivace
