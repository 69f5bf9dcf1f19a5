// What EDMEuler and EDMDPMSolverMultistep share: the preconditioning of Karras et al. 2022 (arXiv 2206.00364, table 1). The model sees the
// sample scaled to variance 1 and a quarter of log sigma as the timestep.
#pragma once

#include <utility>
#include <vector>

#include "schedulers/scheduler_base.h"

namespace vivace {

class EDMBase : public SchedulerBase {
 public:
  float init_noise_sigma() const override;
  float input_scale(int i) const override;

 protected:
  // Reads sigma_min, sigma_max, sigma_data, sigma_schedule, rho, prediction_type, final_sigmas_type and num_train_timesteps.
  explicit EDMBase(SchedulerConfig& config);

  // Sigmas at the places 0 ... 1 of a karras schedule, or as many of an exponential one.
  template <class Real>
  std::vector<float> sigmas_at(const std::vector<Real>& ramp) const;
  // Sets sigmas_, of which `last` is the last, and timesteps_.
  void place(std::vector<float> sigmas, float last);

  // The predicted original at `sigma` in `sample`.
  Linear original(double sigma, const Linear& sample) const;
  std::pair<float, float> noise_mix(int i) const override { return {1.f, sigmas_[i]}; }

  double sigma_min_;
  bool final_zero_;
  int train_;

 private:
  double sigma_max_, sigma_data_, rho_;
  bool karras_, v_prediction_;
};

}  // namespace vivace
