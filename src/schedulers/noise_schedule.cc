#include "schedulers/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "base/log.h"
#include "schedulers/numeric.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kMostTrainTimesteps = 1'000'000;  // a thousand times the usual; keeps a hostile config from filling the memory

// torch.cumprod accumulates float32 in double.
std::vector<float> cumulative_alphas(const std::vector<float>& betas) {
  std::vector<float> alphas(betas.size());
  double product = 1;
  for (size_t i = 0; i < betas.size(); ++i) {
    product *= 1.f - betas[i];
    alphas[i] = static_cast<float>(product);
  }
  return alphas;
}

// Betas whose cumulative product of alphas follows alpha_bar(t), t in [0, 1].
std::vector<float> betas_for_alpha_bar(int n, const std::function<double(double)>& alpha_bar) {
  std::vector<float> betas(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    const double t1 = static_cast<double>(i) / n, t2 = static_cast<double>(i + 1) / n;
    betas[i] = static_cast<float>(std::min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999));
  }
  return betas;
}

// Common Diffusion Noise Schedules and Sample Steps are Flawed (arXiv 2305.08891), algorithm 1: shifts and scales sqrt(alpha bar) so that the
// last timestep holds no signal.
std::vector<float> rescale_zero_terminal_snr(const std::vector<float>& betas) {
  std::vector<float> bar = cumulative_alphas(betas);
  for (float& v : bar) v = std::sqrt(v);
  const float first = bar.front(), last = bar.back(), scale = first / (first - last);
  for (float& v : bar) {
    v = (v - last) * scale;
    v *= v;
  }
  std::vector<float> rescaled(bar.size());
  for (size_t i = 0; i < bar.size(); ++i) rescaled[i] = 1.f - (i == 0 ? bar[0] : bar[i] / bar[i - 1]);
  return rescaled;
}

void check_betas(const SchedulerConfig& config, const std::vector<float>& betas, std::string_view field) {
  for (float beta : betas)
    if (!(beta >= 0 && beta <= 1)) config.unsupported(field, "betas from 0 to 1");
}

struct Betas {
  std::vector<float> values;
  std::string schedule;
  double start, end;
  bool trained = false;  // given as a list
};

Betas read_betas(SchedulerConfig& config, const NoiseScheduleRules& rules) {
  const int n = config.integer("num_train_timesteps", 1000, 1, kMostTrainTimesteps);
  const double start = config.number("beta_start", rules.beta_start), end = config.number("beta_end", rules.beta_end);
  const auto one_of = [&](std::initializer_list<std::string_view> known) { return config.choice("beta_schedule", known, rules.beta_schedule); };
  const std::string schedule = rules.exponential           ? one_of({"linear", "scaled_linear", "squaredcos_cap_v2", "exp"})
                               : rules.laplace_and_sigmoid ? one_of({"linear", "scaled_linear", "squaredcos_cap_v2", "laplace", "sigmoid"})
                                                           : one_of({"linear", "scaled_linear", "squaredcos_cap_v2"});
  const std::vector<double> trained = config.numbers("trained_betas");
  if (!trained.empty()) {
    if (trained.size() != static_cast<size_t>(n)) config.unsupported("trained_betas", cat(n, " numbers, as num_train_timesteps says"));
    std::vector<float> betas(trained.begin(), trained.end());
    check_betas(config, betas, "trained_betas");
    return {std::move(betas), schedule, start, end, true};
  }
  if (schedule == "squaredcos_cap_v2")
    return {betas_for_alpha_bar(n,
                                [](double t) {
                                  const double c = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
                                  return c * c;
                                }),
            schedule, start, end};
  if (schedule == "exp") return {betas_for_alpha_bar(n, [](double t) { return std::exp(t * -12.0); }), schedule, start, end};
  if (schedule == "laplace")
    return {betas_for_alpha_bar(n,
                                [](double t) {
                                  const double lambda = -0.5 * std::copysign(1, 0.5 - t) * std::log(1 - 2 * std::abs(0.5 - t) + 1e-6);
                                  return std::sqrt(std::exp(lambda) / (1 + std::exp(lambda)));
                                }),
            schedule, start, end};
  if (!(start >= 0 && start <= 1)) config.unsupported("beta_start", "a number from 0 to 1");
  if (!(end >= 0 && end <= 1)) config.unsupported("beta_end", "a number from 0 to 1");
  if (schedule == "sigmoid") {
    std::vector<float> betas = linspace_float(-6, 6, n);
    for (float& beta : betas) beta = 1.f / (1.f + exp_float(-beta)) * static_cast<float>(end - start) + static_cast<float>(start);
    return {std::move(betas), schedule, start, end};
  }
  if (schedule == "linear") return {linspace_float(static_cast<float>(start), static_cast<float>(end), n), schedule, start, end};
  std::vector<float> betas = linspace_float(static_cast<float>(std::sqrt(start)), static_cast<float>(std::sqrt(end)), n);
  for (float& beta : betas) beta *= beta;
  return {std::move(betas), schedule, start, end};
}

// Cumulative alphas of the betas, then CogVideoX's shift of their signal-to-noise ratio, then its way to a last one of zero, all in Real.
template <class Real>
std::vector<double> snr_shifted_alphas(const std::vector<Real>& betas, double shift, bool zero_terminal_snr) {
  std::vector<Real> alphas;
  double product = 1;
  for (const Real beta : betas) {
    product *= 1 - beta;
    const auto alpha = static_cast<Real>(product);
    alphas.push_back(alpha / (static_cast<Real>(shift) + static_cast<Real>(1 - shift) * alpha));
  }
  if (zero_terminal_snr) {
    for (Real& v : alphas) v = std::sqrt(v);
    const Real first = alphas.front(), last = alphas.back(), scale = first / (first - last);
    for (Real& v : alphas) {
      v = (v - last) * scale;
      v *= v;
    }
  }
  return {alphas.begin(), alphas.end()};
}

}  // namespace

NoiseSchedule read_noise_schedule(SchedulerConfig& config, const NoiseScheduleRules& rules) {
  NoiseSchedule out;
  Betas read = read_betas(config, rules);
  out.beta_schedule = read.schedule;
  std::vector<float> betas = std::move(read.values);
  const bool rescale = rules.zero_terminal_snr && config.flag("rescale_betas_zero_snr", false);
  if (rescale) betas = rescale_zero_terminal_snr(betas);
  out.alphas_cumprod = cumulative_alphas(betas);
  if (rescale && rules.finite_sigma) out.alphas_cumprod.back() = 0x1p-24f;  // the smallest half: close to zero without an infinite sigma
  for (float alpha : out.alphas_cumprod) out.sigmas.push_back(std::sqrt((1.f - alpha) / alpha));
  return out;
}

std::vector<double> read_snr_shifted_alphas(SchedulerConfig& config) {
  const Betas betas = read_betas(config, {.beta_start = 0.00085, .beta_end = 0.012, .beta_schedule = "scaled_linear"});
  const bool rescale = config.flag("rescale_betas_zero_snr", false);
  const double shift = config.number("snr_shift_scale", 3.0);
  if (!(shift > 0)) config.unsupported("snr_shift_scale", "a positive number");
  if (betas.trained || betas.schedule != "scaled_linear") return snr_shifted_alphas(betas.values, shift, rescale);
  // The one schedule that Diffusers makes in double precision.
  std::vector<double> values = linspace(std::sqrt(betas.start), std::sqrt(betas.end), static_cast<int64_t>(betas.values.size()));
  for (double& beta : values) beta *= beta;
  return snr_shifted_alphas(values, shift, rescale);
}

}  // namespace vivace
