#include "samplers.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "fields.h"
#include "schedulers/scheduler_kind.h"
#include "vivace/scheduler.h"

namespace vivace::server {
namespace {

constexpr Sampler kSamplers[] = {
    {"Euler", "euler"},
    {"Euler a", "euler_a"},
    {"DPM++ 2M", "dpmpp_2m"},
    {"DPM++ 2M SDE", "dpmpp_2m_sde"},
    {"DPM++ SDE", "dpmpp_sde"},
    {"DPM2", "dpm2"},
    {"DPM2 a", "dpm2_a"},
    {"LMS", "lms"},
    {"UniPC", "unipc"},
    {"Heun", "heun"},
    {"DDIM", "ddim"},
    {"PLMS", "pndm"},
    {"LCM", "lcm"},
};

constexpr Spacing kSpacings[] = {
    {"automatic", "Automatic", "{}"},
    {"karras", "Karras", R"({"use_karras_sigmas": true})"},
    {"exponential", "Exponential", R"({"use_exponential_sigmas": true})"},
    {"beta", "Beta", R"({"use_beta_sigmas": true})"},
    {"sgm_uniform", "SGM Uniform", R"({"timestep_spacing": "trailing"})"},
};

bool same(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::span<const Sampler> samplers() { return kSamplers; }
std::span<const Spacing> spacings() { return kSpacings; }

SchedulerChoice scheduler_choice(const std::string& sampler, const std::string& given_spacing) {
  std::string name = sampler, spacing = given_spacing;
  // Older clients have the spacing in the name.
  for (const Spacing& s : kSpacings)
    if (spacing.empty() && name.size() > s.label.size() && same(std::string_view(name).substr(name.size() - s.label.size()), s.label)) {
      spacing = s.name;
      name.resize(name.find_last_not_of(' ', name.size() - s.label.size() - 1) + 1);
    }
  SchedulerChoice choice{"", "{}"};
  if (!spacing.empty()) {
    const auto found = std::ranges::find_if(kSpacings, [&](const Spacing& s) { return same(s.name, spacing) || same(s.label, spacing); });
    if (found == std::end(kSpacings))
      throw FieldError("scheduler", cat("scheduler is \"", spacing, "\": expected one of ", joined(kSpacings, ", ", &Spacing::label)));
    choice.config = found->config;
  }
  if (name.empty() || same(name, "Automatic")) return choice;
  const auto found = std::ranges::find_if(kSamplers, [&](const Sampler& s) { return same(s.name, name); });
  const std::vector<std::string> classes = list_schedulers();
  if (found != std::end(kSamplers))
    choice.scheduler = found->scheduler;
  else if (std::ranges::count(classes, name))
    choice.scheduler = name;
  else
    throw FieldError("sampler_name",
                     cat("sampler_name is \"", name, "\": expected one of ", joined(kSamplers, ", ", &Sampler::name), ", ", joined(classes)));
  return choice;
}

void check_choice(const SchedulerChoice& choice) {
  try {
    const std::vector<std::string> known = scheduler_config_fields(choice.scheduler);
    const nlohmann::json fields = strict_json(choice.config);
    for (const auto& [field, value] : fields.items())
      if (std::ranges::count(known, field) == 0)
        throw UsageError(
            cat("scheduler: a ", make_scheduler(choice.scheduler)->class_name(), " has no ", field, ": expected Automatic, or another sampler"));
    make_scheduler(choice.scheduler, "{}", choice.config);  // refused here where they do not go together
  } catch (const UserError& error) {
    throw FieldError("scheduler", error.what());
  }
}

}  // namespace vivace::server
