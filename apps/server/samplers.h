// A1111's names for schedulers, which its clients have in their lists.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vivace::server {

struct Sampler {
  std::string_view name, scheduler;  // "Euler a", "euler_a"
};
std::span<const Sampler> samplers();

// How noise levels are spaced: "karras", and the field of a scheduler's config that says so.
struct Spacing {
  std::string_view name, label, config;
};
std::span<const Spacing> spacings();

struct SchedulerChoice {
  std::string scheduler, config;  // as Drawing has them
};
// Of a sampler by A1111's name or Diffusers' ("DPM++ 2M Karras" too), and a spacing ("Automatic": the model's own). Empty texts: not given. Throws
// FieldError.
SchedulerChoice scheduler_choice(const std::string& sampler, const std::string& spacing);
// Throws FieldError for a scheduler that there is none of, and for a field that it does not have, which would change nothing.
void check_choice(const SchedulerChoice& choice);

}  // namespace vivace::server
