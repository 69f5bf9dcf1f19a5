#include "schedulers/solver_spacing.h"

#include <algorithm>
#include <cmath>

#include "schedulers/numeric.h"

namespace vivace {

bool SolverSpacing::set_mu(double mu) {
  if (dynamic_shift) flow_shift = std::exp(mu);
  return dynamic_shift;
}

SolverSpacing read_solver_spacing(SchedulerConfig& config, bool dynamic_shift) {
  SolverSpacing out;
  out.spacing = read_sigma_spacing(config);
  out.range = read_sigma_range(config, false);
  out.flow = config.flag("use_flow_sigmas", false);
  out.flow_shift = config.number("flow_shift", 1.0);
  if (!dynamic_shift) return out;
  out.dynamic_shift = config.flag("use_dynamic_shifting", false);
  config.choice("time_shift_type", {"exponential"}, "exponential");
  return out;
}

std::vector<double> SolverSpacing::place(const NoiseSchedule& noise, std::vector<double>& timesteps, int steps, bool round) const {
  std::vector<double> sigmas;
  if (spacing != SigmaSpacing::none) {
    sigmas = space_sigmas(spacing, noise.sigmas.back(), noise.sigmas.front(), range, steps);
    const std::vector<float> logs = log_sigmas(noise.sigmas);
    timesteps.clear();
    for (double sigma : sigmas) {
      const double t = sigma_to_t(sigma, logs);
      timesteps.push_back(round && spacing == SigmaSpacing::karras ? std::nearbyint(t) : t);
    }
  } else if (flow) {
    for (double alpha : linspace(1, 1.0 / noise.num_train_timesteps(), steps + 1)) {
      const double sigma = 1.0 - alpha;
      sigmas.push_back(flow_shift * sigma / (1 + (flow_shift - 1) * sigma));
    }
    std::ranges::reverse(sigmas);
    sigmas.pop_back();
    timesteps.clear();
    for (double sigma : sigmas) timesteps.push_back(sigma * noise.num_train_timesteps());
  } else {
    for (double t : timesteps) sigmas.push_back(interpolate(t, noise.sigmas));
  }
  return sigmas;
}

int last_timestep(const NoiseSchedule& noise, double lambda_min_clipped) {
  int last = noise.num_train_timesteps();  // lambda falls as the timestep rises
  while (last > 0 && NoiseLevel::training_lambda(noise.alphas_cumprod[last - 1]) < lambda_min_clipped) --last;
  return last;
}

int multistep_order(const MultistepOrder& rule, int i, int begin, int count) {
  constexpr int kShortRun = 15;
  const bool lower = rule.lower_order_final && count < kShortRun;
  const int known = std::min(i - begin + 1, rule.solver_order);
  if (i == count - 1 && (lower || rule.lower_last)) return 1;
  return i == count - 2 && lower ? std::min(known, 2) : known;
}

Expansion multistep_expansion(std::span<const NoiseLevel> levels, std::span<const Linear> outputs, bool midpoint) {
  Expansion out{.value = outputs[0], .first = {}, .second = {}, .midpoint = midpoint && outputs.size() == 2};
  if (outputs.size() == 1) return out;
  const float h = levels[0].lambda - levels[1].lambda, r0 = (levels[1].lambda - levels[2].lambda) / h;
  const Linear newer = 1.f / r0 * (outputs[0] - outputs[1]);
  if (outputs.size() == 2) {
    out.first = newer;
    return out;
  }
  const float r1 = (levels[2].lambda - levels[3].lambda) / h;
  const Linear older = 1.f / r1 * (outputs[1] - outputs[2]);
  out.first = newer + r0 / (r0 + r1) * (newer - older);
  out.second = 1.f / (r0 + r1) * (newer - older);
  return out;
}

}  // namespace vivace
