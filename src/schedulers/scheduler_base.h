// What all schedulers share: the public interface over a table of step programs. A class supplies its timesteps and each step's formula.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "schedulers/scheduler_config.h"
#include "schedulers/step_program.h"
#include "vivace/scheduler.h"

namespace vivace {

// make_scheduler with values that replace those of the config without counting as given (SchedulerConfig).
std::unique_ptr<Scheduler> make_scheduler_forced(std::string_view name, const std::string& config, const std::string& overrides,
                                                 const std::string& forced);

class SchedulerBase : public Scheduler {
 public:
  const std::string& class_name() const final { return class_name_; }
  std::string config_json() const final { return config_json_; }
  void set_timesteps(const SchedulerTimesteps& request) final;
  using Scheduler::set_timesteps;
  void set_begin_index(int begin) final;
  void reset() final;
  const std::vector<float>& timesteps() const final { return timesteps_; }
  const std::vector<float>& sigmas() const final { return sigmas_; }
  int order() const override { return 1; }
  int num_train_timesteps() const final { return num_train_timesteps_; }
  float init_noise_sigma() const override { return 1; }
  float input_scale(int i) const override;
  Tensor step(const Tensor& model_output, int i, const Tensor& sample, std::span<Generator* const> generators) final;
  using Scheduler::step;
  void step_in_place(const Tensor& model_output, int i, Tensor& sample, std::span<Generator* const> generators) final;
  Tensor add_noise(const Tensor& original, const Tensor& noise, int i) const final;

  // For a loop that runs the steps itself. The step as data; throws UserError saying why it cannot be run.
  const StepProgram& program(int i) const;
  const Bounds& bounds() const { return bounds_; }
  // Drawn once a step whose program asks for it, in the order of the steps.
  virtual Tensor noise(int i, const Shape& shape, std::span<Generator* const> generators);

 protected:
  SchedulerBase() = default;
  SchedulerBase(const SchedulerBase&) = default;

  // To be called at the end of a constructor, when all fields have been read.
  void finish(const SchedulerConfig& config, int num_train_timesteps);

  // What the class takes besides num_inference_steps.
  struct Takes {
    bool timesteps = false, sigmas = false, both = false, mu = false, original_inference_steps = false, eta = false;
  };
  virtual Takes takes() const { return {}; }
  // Fills timesteps_ and sigmas_. `steps` is the number asked for, or the length of the custom list (one less for Euler's sigmas).
  virtual void place_timesteps(const SchedulerTimesteps& request, int steps) = 0;
  // Model calls that custom sigmas stand for.
  virtual int steps_of(const std::vector<double>& sigmas) const { return static_cast<int>(sigmas.size()); }
  // The step at timesteps_[i] of a run that began at begin_.
  virtual StepProgram plan_step(int i) const = 0;
  // Factors of original and noise at timesteps_[i].
  virtual std::pair<float, float> noise_mix(int i) const = 0;

  // The noise level that s_churn raises `sigma` to before a step, and the deviation of the noise that does (Karras et al. 2022, algorithm 2).
  struct Churn {
    float sigma;
    double noise;
  };
  Churn churn(float sigma) const;

  [[noreturn]] void refuse(const std::string& what) const;  // UsageError: "EulerDiscreteScheduler: <what>"
  // Index into a table over the training timesteps. Throws UserError when the config's spacing leads outside of it. -1, the surplus step
  // that trailing spacing sometimes ends with, reads the table's last entry, as it does in Python.
  size_t train_index(int timestep) const;

  std::vector<float> timesteps_, sigmas_;
  int begin_ = 0;
  SchedulerTimesteps request_;
  Bounds bounds_;

 private:
  int steps_requested(const SchedulerTimesteps& request) const;
  void plan();
  void check_index(int i) const;

  std::string class_name_, config_json_;
  int num_train_timesteps_ = 0;
  int next_ = 0;
  std::vector<StepProgram> programs_;  // of steps begin_, begin_ + 1, ...
  StepRunner runner_;
};

// Reads thresholding, dynamic_thresholding_ratio and sample_max_value; where `clip`, also clip_sample and clip_sample_range, which count
// when thresholding is off.
Bounds read_bounds(SchedulerConfig& config, bool threshold, bool clip, bool clip_by_default = false);

// The scale of inputs and noise for schedulers whose sample is the original plus sigma times noise.
float sigma_input_scale(float sigma);
float sigma_init_noise(const std::vector<float>& sigmas, bool leading);

// One maker a class, each in the file of its class.
std::unique_ptr<Scheduler> make_euler_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_euler_ancestral_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_ddim(SchedulerConfig config);
std::unique_ptr<Scheduler> make_ddpm(SchedulerConfig config);
std::unique_ptr<Scheduler> make_dpmsolver_multistep(SchedulerConfig config);
std::unique_ptr<Scheduler> make_unipc_multistep(SchedulerConfig config);
std::unique_ptr<Scheduler> make_pndm(SchedulerConfig config);
std::unique_ptr<Scheduler> make_heun_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_lcm(SchedulerConfig config);
std::unique_ptr<Scheduler> make_flow_match_euler_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_dpmsolver_singlestep(SchedulerConfig config);
std::unique_ptr<Scheduler> make_dpmsolver_sde(SchedulerConfig config);
std::unique_ptr<Scheduler> make_deis_multistep(SchedulerConfig config);
std::unique_ptr<Scheduler> make_lms_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_k_dpm_2_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_k_dpm_2_ancestral_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_sasolver(SchedulerConfig config);
std::unique_ptr<Scheduler> make_tcd(SchedulerConfig config);
std::unique_ptr<Scheduler> make_edm_euler(SchedulerConfig config);
std::unique_ptr<Scheduler> make_edm_dpmsolver_multistep(SchedulerConfig config);
std::unique_ptr<Scheduler> make_flow_match_heun_discrete(SchedulerConfig config);
std::unique_ptr<Scheduler> make_flow_match_lcm(SchedulerConfig config);
std::unique_ptr<Scheduler> make_cogvideox_ddim(SchedulerConfig config);
std::unique_ptr<Scheduler> make_cogvideox_dpm(SchedulerConfig config);

}  // namespace vivace
