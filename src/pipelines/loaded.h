// The inside of a DiffusionPipeline.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "families/family.h"
#include "pipelines/adapters.h"
#include "schedulers/scheduler_kind.h"

namespace vivace {

class Communicator;  // runtime/communicator.h

struct [[gnu::visibility("hidden")]] DiffusionPipeline::Loaded {
  // With another process, which makes the other prediction of guidance; outlives what was recorded with it. None: this one makes both.
  std::shared_ptr<Communicator> ranks;
  const Family* family = nullptr;
  Parts parts;
  std::unique_ptr<const Recipe> recipe;
  SchedulerKind scheduler_kind = SchedulerKind::diffusion;  // that the checkpoint's own is of
  Adapters adapters;
  Offload offload = Offload::automatic;
  size_t max_memory = 0;                                              // 0: what the machine has
  std::map<std::string, std::filesystem::path, std::less<>> folders;  // of parts that were named beside the checkpoint
  bool weights_in_files = false;                                      // some weights do not lie in their part's folder

  // Of a part's configs, or of a tokenizer.
  std::filesystem::path folder(std::string_view part) const {
    const auto own = folders.find(part);
    return own == folders.end() ? std::filesystem::path(parts.path) / part : own->second;
  }
};

// A checkpoint, in a folder or in one file, or a package. With `look`, for tools that look at plans: what has weights may be a folder of configs, and
// tokenizers may be missing. Throws UserError naming what is missing or wrong.
std::unique_ptr<DiffusionPipeline::Loaded> load_pipeline(const std::filesystem::path& path, const PretrainedOptions& options, bool look = false,
                                                         std::span<const Family> among = families());

// The family that the same parts make for a task, with ControlNets where `controlled`; `own` where they make none.
const Family& family_for(const Family& own, Task task, bool controlled);

// The class that the checkpoint's parts make for a task, with the ControlNets that are given; the checkpoint's own where they make none.
std::string class_for(const std::filesystem::path& path, const PretrainedOptions& options, Task task);

}  // namespace vivace
