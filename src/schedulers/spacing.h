// Where the steps lie: timestep spacings, and sigma spacings with the timesteps that belong to them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_config.h"

namespace vivace {

enum class TimestepSpacing { linspace, leading, trailing };
TimestepSpacing read_timestep_spacing(SchedulerConfig& config, std::string_view fallback);

// Descending timesteps over num_train of them: linspace includes both ends and is not rounded. Diffusers' trailing spacing may give one
// more than asked for when num_train / n is not exact.
std::vector<double> space_timesteps(TimestepSpacing spacing, int num_train, int n, int steps_offset);
// The same as whole numbers, as DDIM and those like it use them.
std::vector<float> whole_timesteps(TimestepSpacing spacing, int num_train, int n, int steps_offset);
// The way of DPMSolverMultistep and UniPC, whose grid has one point more, the last of which is left away; whole numbers.
// `last` is one above the largest timestep to be used.
std::vector<double> space_timesteps_multistep(TimestepSpacing spacing, int num_train, int last, int n, int steps_offset);

enum class SigmaSpacing { none, karras, exponential, beta };
// Reads use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas, of which one at most may be true.
SigmaSpacing read_sigma_spacing(SchedulerConfig& config);

// The ends of a sigma spacing when the config gives them.
struct SigmaRange {
  std::optional<double> min, max;
};
SigmaRange read_sigma_range(SchedulerConfig& config, bool declared);

// n sigmas from range.max (or `first`) down to range.min (or `last`).
std::vector<double> space_sigmas(SigmaSpacing spacing, double first, double last, const SigmaRange& range, int n);

// Where a flow's sigmas lie before they are shifted. Diffusers takes the ends from its constructor, where `shift` has been applied once already.
std::vector<double> space_flow_sigmas(int num_train, double shift, int n);

// The logarithms sigma_to_t searches.
std::vector<float> log_sigmas(const std::vector<float>& sigmas);
// The timestep, as a fraction, whose sigma this is: linear in the logarithm, clamped to the table's ends. Real is the precision the
// reference has its logarithms in: float for its own table, double for a list the caller gave.
template <class Real>
double sigma_to_t(double sigma, const std::vector<Real>& log_sigmas);
// The same with all arithmetic in float32, as for sigmas given by the caller of Euler.
float sigma_to_t_float(float sigma, const std::vector<float>& log_sigmas);

// exp(mu) / (exp(mu) + 1/t - 1), or the same with mu itself. Real is float or double.
template <class Real>
Real shift_time(double mu, bool exponential, Real t);

// Stretches sigmas from their first so that the last becomes `terminal`.
template <class Real>
void stretch_to_terminal(std::vector<Real>& sigmas, double terminal);

}  // namespace vivace
