// Which models a scheduler's noise is for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vivace {

enum class SchedulerKind {
  diffusion,   // Diffusers' KarrasDiffusionSchedulers and their like: Stable Diffusion, SDXL
  flow_match,  // between picture and noise on a straight line: FLUX, AuraFlow
  cogvideox,   // with CogVideoX's own signal to noise ratios
};

// Of a class that is none: diffusion.
SchedulerKind scheduler_kind(std::string_view class_name);
// The class names.
std::vector<std::string> schedulers_of(SchedulerKind kind);

}  // namespace vivace
