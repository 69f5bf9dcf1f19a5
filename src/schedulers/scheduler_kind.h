// What is known of a class of schedulers: which models its noise is for, and what its config may say.
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
// Of the config, those that a class declares, which make_scheduler() reads. `name`: as make_scheduler() takes it.
std::vector<std::string> scheduler_config_fields(std::string_view name);

}  // namespace vivace
