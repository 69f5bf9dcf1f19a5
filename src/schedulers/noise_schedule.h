// The forward process of a scheduler: betas and what follows from them, in the float32 arithmetic of Diffusers' constructors.
#pragma once

#include <string>
#include <vector>

#include "schedulers/scheduler_config.h"

namespace vivace {

// What differs between the classes.
struct NoiseScheduleRules {
  double beta_start = 0.0001, beta_end = 0.02;
  std::string_view beta_schedule = "linear";
  bool exponential = false;          // beta_schedule "exp" is known
  bool laplace_and_sigmoid = false;  // beta_schedules "laplace" and "sigmoid" are known
  bool zero_terminal_snr = true;     // rescale_betas_zero_snr is a field
  bool finite_sigma = true;          // with it, the last sigma is kept finite
};

struct NoiseSchedule {
  std::string beta_schedule;
  std::vector<float> alphas_cumprod;  // one a training timestep
  std::vector<float> sigmas;          // sqrt((1 - alpha) / alpha), ascending with the timestep

  int num_train_timesteps() const { return static_cast<int>(alphas_cumprod.size()); }
};

// Reads num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas and rescale_betas_zero_snr. Throws UserError.
NoiseSchedule read_noise_schedule(SchedulerConfig& config, const NoiseScheduleRules& rules);

// CogVideoX's cumulative alphas. Reads the same fields, and snr_shift_scale.
std::vector<double> read_snr_shifted_alphas(SchedulerConfig& config);

}  // namespace vivace
