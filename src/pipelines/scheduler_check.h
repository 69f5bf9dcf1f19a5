// Schedulers that a pipeline's models were not trained for.
#pragma once

#include <string>

#include "pipelines/loaded.h"

namespace vivace {

// Of a class and its config; "use_flow_sigmas" makes a flow of any class that has it.
SchedulerKind kind_of_scheduler(const std::string& class_name, const std::string& config);

// One of another kind than the checkpoint's draws noise, where it draws at all. Throws UsageError that names what the pipeline takes where its class
// cannot run with it, in Diffusers as here; warns otherwise. A class of the caller's own is none that is known.
void check_scheduler(const DiffusionPipeline::Loaded& loaded, const Scheduler& scheduler);

}  // namespace vivace
