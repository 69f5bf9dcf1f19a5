#include "schedulers/spacing.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "schedulers/numeric.h"
#include "vivace/error.h"

namespace vivace {

TimestepSpacing read_timestep_spacing(SchedulerConfig& config, std::string_view fallback) {
  const std::string name = config.choice("timestep_spacing", {"linspace", "leading", "trailing"}, fallback);
  return name == "linspace" ? TimestepSpacing::linspace : name == "leading" ? TimestepSpacing::leading : TimestepSpacing::trailing;
}

std::vector<double> space_timesteps(TimestepSpacing spacing, int num_train, int n, int steps_offset) {
  std::vector<double> timesteps;
  if (spacing == TimestepSpacing::linspace) {
    timesteps = linspace(0, num_train - 1, n);
    std::ranges::reverse(timesteps);
  } else if (spacing == TimestepSpacing::leading) {
    for (int i = n - 1; i >= 0; --i) timesteps.push_back(static_cast<double>(i) * (num_train / n) + steps_offset);
  } else {
    timesteps = arange(num_train, 0, -static_cast<double>(num_train) / n);
    for (double& t : timesteps) t = std::nearbyint(t) - 1;
  }
  return timesteps;
}

std::vector<float> whole_timesteps(TimestepSpacing spacing, int num_train, int n, int steps_offset) {
  std::vector<float> timesteps;
  for (double t : space_timesteps(spacing, num_train, n, steps_offset)) timesteps.push_back(static_cast<float>(std::nearbyint(t)));
  return timesteps;
}

std::vector<double> space_timesteps_multistep(TimestepSpacing spacing, int num_train, int last, int n, int steps_offset) {
  std::vector<double> timesteps;
  if (spacing == TimestepSpacing::linspace) {
    timesteps = linspace(0, last - 1, n + 1);
    std::ranges::reverse(timesteps);
    timesteps.pop_back();
    for (double& t : timesteps) t = std::nearbyint(t);
  } else if (spacing == TimestepSpacing::leading) {
    for (int i = n; i > 0; --i) timesteps.push_back(static_cast<double>(i) * (last / (n + 1)) + steps_offset);
  } else {
    timesteps = arange(last, 0, -static_cast<double>(num_train) / n);
    for (double& t : timesteps) t = std::nearbyint(t) - 1;
  }
  return timesteps;
}

SigmaSpacing read_sigma_spacing(SchedulerConfig& config) {
  const bool karras = config.flag("use_karras_sigmas", false), exponential = config.flag("use_exponential_sigmas", false);
  const bool beta = config.flag("use_beta_sigmas", false);
  if (karras + exponential + beta > 1)
    throw UserError(config.class_name() + " config: only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas may be true");
  return karras ? SigmaSpacing::karras : exponential ? SigmaSpacing::exponential : beta ? SigmaSpacing::beta : SigmaSpacing::none;
}

SigmaRange read_sigma_range(SchedulerConfig& config, bool declared) {
  SigmaRange range;
  range.min = declared ? config.optional_number("sigma_min") : config.hidden_number("sigma_min");
  range.max = declared ? config.optional_number("sigma_max") : config.hidden_number("sigma_max");
  if (range.min && !(*range.min > 0)) config.unsupported("sigma_min", "a positive number or null");
  if (range.max && !(*range.max > 0)) config.unsupported("sigma_max", "a positive number or null");
  return range;
}

std::vector<double> space_sigmas(SigmaSpacing spacing, double first, double last, const SigmaRange& range, int n) {
  const double high = range.max.value_or(first), low = range.min.value_or(last);
  std::vector<double> sigmas;
  if (spacing == SigmaSpacing::karras) {
    constexpr double kRho = 7;  // Karras et al. 2022 (arXiv 2206.00364), equation 5
    const double from = std::pow(high, 1 / kRho), to = std::pow(low, 1 / kRho);
    for (double ramp : linspace(0, 1, n)) sigmas.push_back(std::pow(from + ramp * (to - from), kRho));
  } else if (spacing == SigmaSpacing::exponential) {
    for (double log_sigma : linspace(std::log(high), std::log(low), n)) sigmas.push_back(std::exp(log_sigma));
  } else {
    constexpr double kAlpha = 0.6, kBeta = 0.6;  // Beta Sampling is All You Need (arXiv 2407.12173)
    for (double ramp : linspace(0, 1, n)) sigmas.push_back(low + beta_ppf(1 - ramp, kAlpha, kBeta) * (high - low));
  }
  return sigmas;
}

std::vector<double> space_flow_sigmas(int num_train, double shift, int n) {
  const auto train = static_cast<float>(num_train);
  const auto end = [&](float sigma) { return static_cast<float>(shift) * sigma / (1.f + static_cast<float>(shift - 1) * sigma); };
  std::vector<double> sigmas = linspace(static_cast<double>(end(1.f)) * train, static_cast<double>(end(1.f / train)) * train, n);
  for (double& sigma : sigmas) sigma /= num_train;
  return sigmas;
}

std::vector<float> log_sigmas(const std::vector<float>& sigmas) {
  std::vector<float> logs;
  logs.reserve(sigmas.size());
  for (float sigma : sigmas) logs.push_back(numpy_log(sigma));
  return logs;
}

namespace {
// The last entry that is not above `log_sigma` (the first when all are), but not the table's last.
template <class Real, class Log>
size_t low_index(Log log_sigma, const std::vector<Real>& log_sigmas) {
  size_t low = 0;
  for (size_t i = 0; i < log_sigmas.size(); ++i)
    if (log_sigma - log_sigmas[i] >= 0) low = i;
  return std::min(low, log_sigmas.size() - 2);
}
}  // namespace

template <class Real>
double sigma_to_t(double sigma, const std::vector<Real>& log_sigmas) {
  if (log_sigmas.size() < 2) return 0;
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  const size_t i = low_index(log_sigma, log_sigmas);
  const Real low = log_sigmas[i], high = log_sigmas[i + 1];
  const double w = std::clamp((low - log_sigma) / (low - high), 0.0, 1.0);
  return (1 - w) * static_cast<double>(i) + w * static_cast<double>(i + 1);
}
template double sigma_to_t<float>(double, const std::vector<float>&);
template double sigma_to_t<double>(double, const std::vector<double>&);

float sigma_to_t_float(float sigma, const std::vector<float>& log_sigmas) {
  if (log_sigmas.size() < 2) return 0;
  const float log_sigma = numpy_log(std::max(sigma, 1e-10f));
  const size_t i = low_index(log_sigma, log_sigmas);
  const float low = log_sigmas[i], high = log_sigmas[i + 1];
  const float w = std::clamp((low - log_sigma) / (low - high), 0.f, 1.f);
  return static_cast<float>(static_cast<double>(1.f - w) * static_cast<double>(i) + static_cast<double>(w) * static_cast<double>(i + 1));
}

template <class Real>
Real shift_time(double mu, bool exponential, Real t) {
  const Real shift = static_cast<Real>(exponential ? std::exp(mu) : mu);
  return shift / (shift + (1 / t - 1));
}
template float shift_time<float>(double, bool, float);
template double shift_time<double>(double, bool, double);

template <class Real>
void stretch_to_terminal(std::vector<Real>& sigmas, double terminal) {
  const Real scale = (1 - sigmas.back()) / static_cast<Real>(1 - terminal);
  for (Real& sigma : sigmas) sigma = 1 - (1 - sigma) / scale;
}
template void stretch_to_terminal<float>(std::vector<float>&, double);
template void stretch_to_terminal<double>(std::vector<double>&, double);

}  // namespace vivace
