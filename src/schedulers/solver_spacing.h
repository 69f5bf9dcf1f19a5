// What the solvers in lambda share about their lists: where sigmas lie and the order of each step.
#pragma once

#include <span>
#include <vector>

#include "schedulers/dpm_solver.h"
#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_config.h"
#include "schedulers/solver_step.h"
#include "schedulers/spacing.h"

namespace vivace {

struct SolverSpacing {
  SigmaSpacing spacing = SigmaSpacing::none;
  SigmaRange range;
  bool flow = false, dynamic_shift = false;
  double flow_shift = 1;

  bool own_formula() const { return spacing != SigmaSpacing::none || flow; }
  SigmaKind kind() const { return flow ? SigmaKind::flow : SigmaKind::scaled; }
  // False without use_dynamic_shifting.
  bool set_mu(double mu);
  // The sigmas of the steps, without a last one. `timesteps`: the spacing of timesteps, which is replaced where sigmas are spaced by a formula
  // of their own. `round`: timesteps of karras sigmas are whole.
  std::vector<double> place(const NoiseSchedule& noise, std::vector<double>& timesteps, int steps, bool round) const;
};
// Reads use_karras_sigmas and its like, use_flow_sigmas and flow_shift, and where it is a field use_dynamic_shifting with time_shift_type.
SolverSpacing read_solver_spacing(SchedulerConfig& config, bool dynamic_shift = true);

// One above the last timestep whose log signal-to-noise ratio is not below `lambda_min_clipped`.
int last_timestep(const NoiseSchedule& noise, double lambda_min_clipped);

// The order of step i of `count`, which grows with the outputs known and falls towards the end of short runs.
struct MultistepOrder {
  int solver_order;
  bool lower_order_final;
  bool lower_last = false;  // the last step is of first order in long runs, too
};
int multistep_order(const MultistepOrder& rule, int i, int begin, int count);

// From the outputs of this step and the ones before, newest first, and the levels of the step's end, of this step and of the ones before.
Expansion multistep_expansion(std::span<const NoiseLevel> levels, std::span<const Linear> outputs, bool midpoint);

}  // namespace vivace
