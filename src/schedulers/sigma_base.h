// What the schedulers share that step from sigma to sigma: Heun, LMS, KDPM2, its ancestral and DPMSolverSDE. Their sample is the original plus
// sigma times noise, and their last sigma is 0.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {

class SigmaBase : public SchedulerBase {
 public:
  float init_noise_sigma() const override;

 protected:
  // What differs between the classes.
  struct Rules {
    NoiseScheduleRules noise;
    bool karras_in_range = true;  // karras sigmas, too, run between the sigma_min and sigma_max that a config of another class carries
    bool float_timesteps = true;  // timesteps are rounded to float32 before their sigmas are looked up
  };
  // Reads the noise schedule, use_karras_sigmas and its like, timestep_spacing and steps_offset.
  SigmaBase(SchedulerConfig& config, const Rules& rules);

  // One timestep and sigma a step, without the last 0. `timesteps`: custom ones, or empty.
  struct Levels {
    std::vector<double> timesteps, sigmas;
  };
  Levels levels(const std::vector<double>& timesteps, int steps) const;

  float scale_at(float sigma, int i) const { return SchedulerBase::input_scale(i) * sigma_input_scale(sigma); }
  std::pair<float, float> noise_mix(int i) const override { return {1.f, sigmas_[i]}; }
  // The predicted original at `sigma`.
  Linear original(double sigma) const;

  NoiseSchedule noise_;
  std::string prediction_type_;  // the class reads it
  SigmaSpacing sigma_spacing_;

 private:
  SigmaRange range_;
  TimestepSpacing spacing_;
  int steps_offset_;
  bool float_timesteps_;
};

}  // namespace vivace
