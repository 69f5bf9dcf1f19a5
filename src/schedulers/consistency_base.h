// What LCM and TCD share: timesteps chosen among those that the model was distilled on.
#pragma once

#include <utility>
#include <vector>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"

namespace vivace {

class ConsistencyBase : public SchedulerBase {
 protected:
  // Reads the noise schedule, original_inference_steps, prediction_type, and fields that change nothing here.
  explicit ConsistencyBase(SchedulerConfig& config);

  Takes takes() const override { return {.timesteps = true, .original_inference_steps = true}; }
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  std::pair<float, float> noise_mix(int i) const override;
  // Those of the distillation, ascending, when it had `original` steps.
  virtual std::vector<int> trained_timesteps(const SchedulerTimesteps& request, int original) const;

  // alphas_cumprod at timesteps_[i].
  float alpha(int i) const { return noise_.alphas_cumprod[train_index(static_cast<int>(timesteps_[i]))]; }
  // The predicted original at that alpha.
  Linear original(float alpha) const;
  // The last step draws no noise. As in Diffusers, a strength below 1 shortens a custom list without moving its end.
  bool is_last(int i) const { return i == num_inference_steps_ - 1; }

  NoiseSchedule noise_;
  std::string prediction_type_;

 private:
  void place_custom(const SchedulerTimesteps& request, const std::vector<int>& trained);

  int original_steps_, num_inference_steps_ = 0;
};

}  // namespace vivace
