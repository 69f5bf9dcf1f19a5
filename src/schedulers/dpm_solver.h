// The update of DPM-Solver (arXiv 2206.00927), DPM-Solver++ (arXiv 2211.01095) and their SDE variants: a Taylor expansion in lambda.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_config.h"
#include "schedulers/solver_step.h"
#include "schedulers/spacing.h"
#include "schedulers/step_program.h"

namespace vivace {

// What earlier model outputs say about the outputs of a step: the value at its start and the derivatives, scaled by powers of the step.
// Those above the order are left zero.
struct Expansion {
  Linear value, first, second;
  bool midpoint = false;  // the first derivative counts at the step's middle, instead of being integrated
};

// How the outputs are read.
struct DPMSolver {
  bool predicts_original = true;  // outputs are originals ("++"), not noises
  bool stochastic = false;        // the update adds noise
  bool heun = false;              // second order integrates the derivative
  bool final_zero = true;         // the last sigma is 0, not the least of training

  // The sample at t from the one at s.
  Linear update(const NoiseLevel& t, const NoiseLevel& s, const Linear& sample, const Expansion& outputs) const;
};

// Reads algorithm_type, solver_type and final_sigmas_type. Values that belong to other solvers are replaced as in Diffusers. `algorithms`: those
// of the class.
DPMSolver read_dpm_solver(SchedulerConfig& config, std::initializer_list<std::string_view> algorithms);

// The model's output as what a solver in lambda works on, for models that predict epsilon, sample, v_prediction or flow_prediction. Where
// `bounds` asks for it, the bounded original is written to kPrediction first.
struct SolverOutput {
  std::string prediction_type;
  bool predicts_original = true;

  Linear convert(StepProgram& program, float sigma, SigmaKind kind, const Bounds& bounds) const;
};
// Reads prediction_type and, where it is a field of the class, variance_type.
SolverOutput read_solver_output(SchedulerConfig& config, bool predicts_original, bool variance_type);

}  // namespace vivace
