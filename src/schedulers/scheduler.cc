// The list of schedulers.
#include "vivace/scheduler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/scheduler_kind.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Entry {
  const char* class_name;
  std::unique_ptr<Scheduler> (*make)(SchedulerConfig);
  SchedulerKind kind = SchedulerKind::diffusion;
};
constexpr Entry kSchedulers[] = {
    {"EulerDiscreteScheduler", make_euler_discrete},
    {"EulerAncestralDiscreteScheduler", make_euler_ancestral_discrete},
    {"DDIMScheduler", make_ddim},
    {"DDPMScheduler", make_ddpm},
    {"DPMSolverMultistepScheduler", make_dpmsolver_multistep},
    {"UniPCMultistepScheduler", make_unipc_multistep},
    {"PNDMScheduler", make_pndm},
    {"HeunDiscreteScheduler", make_heun_discrete},
    {"LCMScheduler", make_lcm},
    {"FlowMatchEulerDiscreteScheduler", make_flow_match_euler_discrete, SchedulerKind::flow_match},
    {"DPMSolverSinglestepScheduler", make_dpmsolver_singlestep},
    {"DPMSolverSDEScheduler", make_dpmsolver_sde},
    {"DEISMultistepScheduler", make_deis_multistep},
    {"LMSDiscreteScheduler", make_lms_discrete},
    {"KDPM2DiscreteScheduler", make_k_dpm_2_discrete},
    {"KDPM2AncestralDiscreteScheduler", make_k_dpm_2_ancestral_discrete},
    {"SASolverScheduler", make_sasolver},
    {"TCDScheduler", make_tcd},
    {"EDMEulerScheduler", make_edm_euler},
    {"EDMDPMSolverMultistepScheduler", make_edm_dpmsolver_multistep},
    {"FlowMatchHeunDiscreteScheduler", make_flow_match_heun_discrete, SchedulerKind::flow_match},
    {"FlowMatchLCMScheduler", make_flow_match_lcm, SchedulerKind::flow_match},
    {"CogVideoXDDIMScheduler", make_cogvideox_ddim, SchedulerKind::cogvideox},
    {"CogVideoXDPMScheduler", make_cogvideox_dpm, SchedulerKind::cogvideox},
};

struct ShortName {
  const char *name, *class_name;
  const char* overrides = "{}";
};
constexpr ShortName kShortNames[] = {
    {"euler", "EulerDiscreteScheduler"},
    {"euler_a", "EulerAncestralDiscreteScheduler"},
    {"ddim", "DDIMScheduler"},
    {"ddpm", "DDPMScheduler"},
    {"dpmsolver++", "DPMSolverMultistepScheduler"},
    {"dpmpp_2m", "DPMSolverMultistepScheduler"},
    {"dpmpp_2m_sde", "DPMSolverMultistepScheduler", R"({"algorithm_type": "sde-dpmsolver++"})"},
    {"unipc", "UniPCMultistepScheduler"},
    {"pndm", "PNDMScheduler"},
    {"heun", "HeunDiscreteScheduler"},
    {"lcm", "LCMScheduler"},
    {"flow_match_euler", "FlowMatchEulerDiscreteScheduler"},
    {"dpmpp_2s", "DPMSolverSinglestepScheduler"},
    {"dpmpp_sde", "DPMSolverSDEScheduler"},
    {"deis", "DEISMultistepScheduler"},
    {"lms", "LMSDiscreteScheduler"},
    {"dpm2", "KDPM2DiscreteScheduler"},
    {"dpm2_a", "KDPM2AncestralDiscreteScheduler"},
    {"sa_solver", "SASolverScheduler"},
    {"tcd", "TCDScheduler"},
    {"edm_euler", "EDMEulerScheduler"},
    {"edm_dpmpp_2m", "EDMDPMSolverMultistepScheduler"},
    {"flow_match_heun", "FlowMatchHeunDiscreteScheduler"},
    {"flow_match_lcm", "FlowMatchLCMScheduler"},
    {"cogvideox_ddim", "CogVideoXDDIMScheduler"},
    {"cogvideox_dpm", "CogVideoXDPMScheduler"},
};

}  // namespace

std::unique_ptr<Scheduler> make_scheduler(std::string_view name, const std::string& config, const std::string& overrides) {
  return make_scheduler_forced(name, config, overrides, "{}");
}

std::unique_ptr<Scheduler> make_scheduler_forced(std::string_view name, const std::string& config, const std::string& overrides,
                                                 const std::string& forced) {
  std::string_view class_name = name;
  std::string all_overrides = overrides;
  for (const ShortName& s : kShortNames) {
    if (name != s.name) continue;
    class_name = s.class_name;
    nlohmann::json fields = strict_json(s.overrides);
    const nlohmann::json given = parse_json(overrides, cat(class_name, " config overrides"));
    if (!given.is_object()) throw UserError(cat(class_name, " config overrides: expected a JSON object at the top, got ", given.type_name()));
    fields.update(given);
    all_overrides = json_text(fields);
  }
  for (const Entry& entry : kSchedulers)
    if (class_name == entry.class_name) return entry.make(SchedulerConfig(entry.class_name, config, all_overrides, forced));
  throw UsageError(cat("unknown scheduler \"", name, "\": expected one of ", joined(kSchedulers, ", ", &Entry::class_name), ", ",
                       joined(kShortNames, ", ", &ShortName::name)));
}

SchedulerKind scheduler_kind(std::string_view class_name) {
  const auto* entry = std::ranges::find(kSchedulers, class_name, &Entry::class_name);
  return entry == std::end(kSchedulers) ? SchedulerKind::diffusion : entry->kind;
}

std::vector<std::string> schedulers_of(SchedulerKind kind) {
  std::vector<std::string> names;
  for (const Entry& entry : kSchedulers)
    if (entry.kind == kind) names.emplace_back(entry.class_name);
  return names;
}

std::vector<std::string> scheduler_config_fields(std::string_view name) {
  std::vector<std::string> fields;
  const nlohmann::json config = strict_json(make_scheduler(name)->config());
  for (const auto& field : config.items())
    if (!field.key().starts_with('_')) fields.push_back(field.key());
  return fields;
}

std::vector<std::string> list_schedulers() {
  std::vector<std::string> names;
  for (const Entry& entry : kSchedulers) names.emplace_back(entry.class_name);
  return names;
}

#define VIVACE_SCHEDULER(name)                                                                            \
  std::unique_ptr<Scheduler> name::from_config(const std::string& config, const std::string& overrides) { \
    return make_scheduler(#name, config, overrides);                                                      \
  }
VIVACE_SCHEDULER(EulerDiscreteScheduler)
VIVACE_SCHEDULER(EulerAncestralDiscreteScheduler)
VIVACE_SCHEDULER(DDIMScheduler)
VIVACE_SCHEDULER(DDPMScheduler)
VIVACE_SCHEDULER(DPMSolverMultistepScheduler)
VIVACE_SCHEDULER(UniPCMultistepScheduler)
VIVACE_SCHEDULER(PNDMScheduler)
VIVACE_SCHEDULER(HeunDiscreteScheduler)
VIVACE_SCHEDULER(LCMScheduler)
VIVACE_SCHEDULER(FlowMatchEulerDiscreteScheduler)
VIVACE_SCHEDULER(DPMSolverSinglestepScheduler)
VIVACE_SCHEDULER(DPMSolverSDEScheduler)
VIVACE_SCHEDULER(DEISMultistepScheduler)
VIVACE_SCHEDULER(LMSDiscreteScheduler)
VIVACE_SCHEDULER(KDPM2DiscreteScheduler)
VIVACE_SCHEDULER(KDPM2AncestralDiscreteScheduler)
VIVACE_SCHEDULER(SASolverScheduler)
VIVACE_SCHEDULER(TCDScheduler)
VIVACE_SCHEDULER(EDMEulerScheduler)
VIVACE_SCHEDULER(EDMDPMSolverMultistepScheduler)
VIVACE_SCHEDULER(FlowMatchHeunDiscreteScheduler)
VIVACE_SCHEDULER(FlowMatchLCMScheduler)
VIVACE_SCHEDULER(CogVideoXDDIMScheduler)
VIVACE_SCHEDULER(CogVideoXDPMScheduler)
#undef VIVACE_SCHEDULER

}  // namespace vivace
