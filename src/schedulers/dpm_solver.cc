#include "schedulers/dpm_solver.h"

#include <cmath>

namespace vivace {

Linear DPMSolver::update(const NoiseLevel& t, const NoiseLevel& s, const Linear& sample, const Expansion& outputs) const {
  const float h = t.lambda - s.lambda;
  const float step = !predicts_original ? h : stochastic ? -2 * h : -h;
  const float phi = exp_float(step) - 1.f;
  const float keep = !predicts_original ? t.alpha / s.alpha : stochastic ? t.sigma / s.sigma * exp_float(-h) : t.sigma / s.sigma;
  const float scale = predicts_original ? t.alpha : stochastic ? 2 * t.sigma : t.sigma;

  Linear result = keep * sample - scale * phi * outputs.value;
  result += -(outputs.midpoint ? 0.5f * (scale * phi) : scale * (phi / step - 1.f)) * outputs.first;
  // Diffusers' sign of the half in the stochastic update is the other one.
  const float half = stochastic ? -0.5f : 0.5f;
  result += -scale * ((phi - step) / (step * step) - half) * outputs.second;
  if (stochastic) {
    const float variance = predicts_original ? 1.f - exp_float(-2 * h) : exp_float(2 * h) - 1.f;
    result += t.sigma * std::sqrt(variance) * Linear(kNoise);
  }
  return result;
}

DPMSolver read_dpm_solver(SchedulerConfig& config, std::initializer_list<std::string_view> algorithms) {
  DPMSolver solver;
  std::string algorithm = config.choice("algorithm_type", algorithms, "dpmsolver++");
  solver.final_zero = config.choice("final_sigmas_type", {"zero", "sigma_min"}, "zero") == "zero";
  if (solver.final_zero && !algorithm.ends_with("++"))
    config.unsupported("algorithm_type", "\"dpmsolver++\" or \"sde-dpmsolver++\", or final_sigmas_type \"sigma_min\" with it");
  if (algorithm == "deis") config.replace("algorithm_type", algorithm = "dpmsolver++");
  const std::string type = config.choice("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}, "midpoint");
  solver.heun = type == "heun";
  if (!solver.heun && type != "midpoint") config.replace("solver_type", "midpoint");
  solver.predicts_original = algorithm.ends_with("++");
  solver.stochastic = algorithm.starts_with("sde");
  return solver;
}

Linear SolverOutput::convert(StepProgram& program, float sigma_listed, SigmaKind kind, const Bounds& bounds) const {
  const NoiseLevel level(sigma_listed, kind);
  const double alpha = level.alpha, sigma = prediction_type == "flow_prediction" ? sigma_listed : level.sigma;
  Linear original, epsilon;
  if (prediction_type == "epsilon") {
    original = (kSample - sigma * Linear(kModelOutput)) / alpha;
    epsilon = kModelOutput;
  } else if (prediction_type == "sample") {
    original = kModelOutput;
    epsilon = (kSample - alpha * original) / sigma;
  } else if (prediction_type == "v_prediction") {
    original = alpha * Linear(kSample) - sigma * Linear(kModelOutput);
    epsilon = alpha * Linear(kModelOutput) + sigma * Linear(kSample);
  } else {
    original = kSample - sigma * Linear(kModelOutput);
    epsilon = (kSample - alpha * original) / sigma;
  }
  if (bounds.kind != Bound::none) {
    if (!predicts_original) original = (kSample - sigma * epsilon) / alpha;
    program.assign(kPrediction, original, bounds.kind);
    original = kPrediction;
    epsilon = (kSample - alpha * original) / sigma;
  }
  return predicts_original ? original : epsilon;
}

SolverOutput read_solver_output(SchedulerConfig& config, bool predicts_original, bool variance_type) {
  SolverOutput output;
  output.predicts_original = predicts_original;
  output.prediction_type = predicts_original ? config.choice("prediction_type", {"epsilon", "sample", "v_prediction", "flow_prediction"}, "epsilon")
                                             : config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
  if (!variance_type) return output;
  // Models that also predict a variance; the other values concern DDPM alone.
  const std::string variance = config.optional_text("variance_type").value_or("");
  if (variance.starts_with("learned") && output.prediction_type == "epsilon")
    config.unsupported("variance_type", "null, as this scheduler does not read a predicted variance");
  return output;
}

}  // namespace vivace
