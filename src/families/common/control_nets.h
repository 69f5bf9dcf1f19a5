// ControlNets beside a UNet: at every step they read what the UNet reads, and what they give is added inside of it.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "components/controlnet.h"
#include "components/models.h"
#include "families/common/guided_predictor.h"
#include "families/family.h"

namespace vivace {

// Names of the parts, from 0 on: "controlnet", "controlnet_2", ...
std::string_view controlnet_name(size_t number);

// The arguments of a call with ControlNets.
inline constexpr std::array<std::string_view, 5> kControlArguments{"control_image", "controlnet_conditioning_scale", "control_guidance_start",
                                                                   "control_guidance_end", "guess_mode"};

// A part table with ControlNets.
std::vector<PartSpec> with_controlnets(std::vector<PartSpec> parts);

// Those that there are.
std::vector<std::string_view> controlnets_of(const Parts& parts);

// Throws UserError where a ControlNet is none of that UNet's, naming both folders.
void check_controlnet(const Parts& parts, std::string_view name, const ControlNetConfig& net, const UNetConfig& unet, const LatentFormat& latents);
// Throws UsageError where pictures, scales and fractions of a call do not fit so many ControlNets.
void check_control(const CallOptions& options, size_t nets, int64_t prompts);

class ControlNets {
 public:
  // A session for each net and the pictures [images, 3, H, W] it reads, in 0..1. `guidance`: none where the nets read the positive prompt alone
  // (guess_mode). `steps` are those of the run; the UNet's session outlives this.
  ControlNets(std::vector<SessionLease> nets, const std::vector<Tensor>& pictures, const Call& call, const Conditioning& conditioning,
              Guidance guidance, std::span<const float> timesteps, const StepRange& steps, Session& unet, Request& request);
  // Before the UNet runs the step.
  void add(int step, float timestep, float input_scale, const Tensor& latents);
  // The same in a device's loop: the nets are models of it, ahead of the UNet; a row says what each adds in that step.
  void join(LoopCall& call) const;
  void tell(int step, LoopStep& row) const;

 private:
  struct Net {
    SessionLease session;
    Port input, step;
    bool scheduled;
    std::vector<Port> outputs;     // of the skips, then of the middle
    float scale;                   // controlnet_conditioning_scale
    double first_step, last_step;  // fractions of the run
  };
  bool counts(const Net& net, int step) const;
  void run(Net& net, int step, float timestep, float input_scale, const Tensor& latents);

  std::vector<Net> nets_;
  std::vector<Port> residuals_;  // the UNet's inputs, in the order of the outputs
  std::vector<float> depth_;     // by residual: what guess_mode multiplies it by
  Guidance guidance_;
  StepRange steps_;
  Session& unet_;
  Request& request_;
};

}  // namespace vivace
