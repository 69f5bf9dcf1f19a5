// Diffusion schedulers with the names, config fields and numbers of Diffusers 0.42.1.
// Sigmas and coefficients live on the host; once the timesteps are set, each step is a known linear combination of tensors.
// Samples agree with Diffusers to a few float32 roundings of the largest sample. PyTorch's float32 square root is off by a unit in the last
// place for a fifth of all arguments on some machines; two results follow it there and not here: with rescale_betas_zero_snr small sigmas
// differ by up to about 1e-3 of themselves, and with exponential, beta or lu sigmas DPMSolverMultistep and UniPC, which truncate timesteps
// to integers, may have a first timestep one off (998 for 999). With the betas of Stable Diffusion sigmas agree to 1e-6 and timesteps exactly.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vivace/api.h"
#include "vivace/generator.h"
#include "vivace/tensor.h"

namespace vivace VIVACE_API {

// What set_timesteps may be given. A scheduler that does not take a field throws UsageError when it is set; the last group belongs to
// Diffusers' step(): it is known before the loop, so it is given here, and schedulers that have no use for it ignore it.
struct SchedulerTimesteps {
  std::optional<int> num_inference_steps;  // 1 ... num_train_timesteps
  // Custom timesteps, descending: Euler, DPMSolverMultistep, DPMSolverSinglestep, Heun, LCM, TCD, FlowMatchEuler, FlowMatchLCM.
  std::vector<double> timesteps;
  // Custom sigmas: Euler (ending in 0), UniPC with flow sigmas, FlowMatchEuler and FlowMatchLCM (without the 0). EDMEuler takes, as Diffusers
  // does under this name, places in its schedule from 0 (sigma_max) to 1 (sigma_min).
  std::vector<double> sigmas;
  std::optional<double> mu;  // resolution-dependent shift: FlowMatchEuler, FlowMatchLCM, DPMSolverMultistep, DPMSolverSinglestep, DEIS, UniPC
  std::optional<int> original_inference_steps;  // LCM, TCD
  double strength = 1.0;                        // LCM and TCD, image to image

  std::optional<double> eta;              // DDIM (0) and TCD (0.3), 0 to 1
  bool use_clipped_model_output = false;  // DDIM
  // Euler, EDMEuler, FlowMatchHeun; DPMSolverSDE takes s_noise alone.
  double s_churn = 0.0, s_tmin = 0.0, s_tmax = std::numeric_limits<double>::infinity(), s_noise = 1.0;
};

// One run's scheduler: set_timesteps, then step(..., i, ...) for i = begin index, begin index + 1, ...
// Not for use from several threads at once: give each request a clone().
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  Scheduler& operator=(const Scheduler&) = delete;

  virtual const std::string& class_name() const = 0;
  // The config as JSON: every field of the class, and those of other classes that came with the config it was made from. As in Diffusers,
  // "_use_default_values" names the fields nobody gave, which another class's from_config replaces by its own defaults.
  virtual std::string config_json() const = 0;
  std::string config() const { return config_json(); }

  // Throws UsageError for a number of steps below 1 or above num_train_timesteps, or for what this scheduler does not take, and UserError
  // when the config's spacing leads outside of the training timesteps.
  virtual void set_timesteps(const SchedulerTimesteps& request) = 0;
  void set_timesteps(int num_inference_steps) {
    SchedulerTimesteps request;
    request.num_inference_steps = num_inference_steps;
    set_timesteps(request);
  }
  // Where the run starts: steps before it are not taken (image to image). set_timesteps puts it back to 0.
  virtual void set_begin_index(int begin) = 0;
  // Forgets the history of earlier steps, so that the next run may start; step() at the begin index does so by itself.
  virtual void reset() = 0;

  // One entry a model call, as step()'s i counts them; integers where Diffusers has integers. Empty before set_timesteps.
  virtual const std::vector<float>& timesteps() const = 0;
  // As in Diffusers, one more than timesteps(), and for KDPM2 and its ancestral two more; empty for DDIM, PNDM, LCM, TCD and CogVideoX's, which have
  // none.
  virtual const std::vector<float>& sigmas() const = 0;
  // Model calls a step: 2 for Heun, FlowMatchHeun, KDPM2, its ancestral and DPMSolverSDE, else 1.
  virtual int order() const = 0;
  virtual int num_train_timesteps() const = 0;
  // Standard deviation of the first sample.
  virtual float init_noise_sigma() const = 0;
  // scale_model_input multiplies the sample by this. Throws UserError, as step(i) would, when config and timesteps make step i divide by zero.
  virtual float input_scale(int i) const = 0;

  // The previous (less noisy) sample from the model's output at timesteps()[i]. Both tensors are float32 of one shape, batch first; the
  // result is a new tensor. Stochastic schedulers draw from the generators as randn_tensor does, and throw UsageError without one.
  virtual Tensor step(const Tensor& model_output, int i, const Tensor& sample, std::span<Generator* const> generators = {}) = 0;
  Tensor step(const Tensor& model_output, int i, const Tensor& sample, Generator& generator) {
    Generator* const one = &generator;
    return step(model_output, i, sample, std::span<Generator* const>(&one, 1));
  }
  // The same, with the result in `sample`: what it held becomes the memory of the next result, unless another Tensor shares it, so that a run
  // takes no memory after its first step but for noise.
  virtual void step_in_place(const Tensor& model_output, int i, Tensor& sample, std::span<Generator* const> generators = {}) = 0;
  // The original at the noise level of timesteps()[i] (add_noise; scale_noise for FlowMatchEuler).
  virtual Tensor add_noise(const Tensor& original, const Tensor& noise, int i) const = 0;

  // Same config and timesteps, no history.
  virtual std::unique_ptr<Scheduler> clone() const = 0;

 protected:
  Scheduler() = default;
  Scheduler(const Scheduler&) = default;
};

// By class name ("EulerDiscreteScheduler") or short name (euler, euler_a, ddim, ddpm, dpmsolver++, dpmpp_2m, dpmpp_2m_sde, unipc, pndm, heun, lcm,
// flow_match_euler, dpmpp_2s, dpmpp_sde, deis, lms, dpm2, dpm2_a, sa_solver, tcd, edm_euler, edm_dpmpp_2m, flow_match_heun, flow_match_lcm,
// cogvideox_ddim, cogvideox_dpm). `config`
// is the JSON of a scheduler_config.json, also one of another class: shared fields are kept, others ignored. Fields of `overrides` win, as keyword
// arguments of from_config do. Throws UsageError for an unknown name and UserError that names the field whose value is not supported or of a wrong
// type.
std::unique_ptr<Scheduler> make_scheduler(std::string_view name, const std::string& config = "{}", const std::string& overrides = "{}");
// The class names.
std::vector<std::string> list_schedulers();

// Twins of Diffusers' classes: pipe.set_scheduler(UniPCMultistepScheduler::from_config(pipe.scheduler().config())).
struct EulerDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct EulerAncestralDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DDIMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DDPMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DPMSolverMultistepScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct UniPCMultistepScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct PNDMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct HeunDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct LCMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct FlowMatchEulerDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DPMSolverSinglestepScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DPMSolverSDEScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct DEISMultistepScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct LMSDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct KDPM2DiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct KDPM2AncestralDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct SASolverScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct TCDScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct EDMEulerScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct EDMDPMSolverMultistepScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct FlowMatchHeunDiscreteScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct FlowMatchLCMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct CogVideoXDDIMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};
struct CogVideoXDPMScheduler {
  static std::unique_ptr<Scheduler> from_config(const std::string& config = "{}", const std::string& overrides = "{}");
};

}  // namespace VIVACE_API
