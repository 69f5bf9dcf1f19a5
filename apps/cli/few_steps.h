// A word to the person who asks a model that was distilled for few steps for many, or for other ones.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "arguments.h"
#include "vivace/pipeline.h"

namespace vivace::cli {

// What says what a model is: its folder or file, the name in its model_index.json, its scheduler's class, and the files of --lora.
std::vector<std::string> model_names(const std::string& model, const std::string& scheduler, const Arguments& arguments);

// One line when a name says few-step (turbo, lightning, hyper, lcm, tcd, schnell), and the call has many steps with guidance, or the scheduler's
// config another timestep_spacing than the kind was trained for; else empty.
std::string few_steps_hint(std::span<const std::string> names, int steps, double guidance_scale, const std::string& scheduler_config);

}  // namespace vivace::cli
