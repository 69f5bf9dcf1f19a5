// The inside of a DiffusionPipeline.
#pragma once

#include <filesystem>

#include "families/family.h"

namespace vivace {

struct [[gnu::visibility("hidden")]] DiffusionPipeline::Loaded {
  const Family* family = nullptr;
  Parts parts;
  std::unique_ptr<const Recipe> recipe;
};

// A checkpoint or a package. With `look`, for tools that look at plans: what has weights may be a folder of configs, and tokenizers may be missing.
// Throws UserError naming what is missing or wrong.
std::unique_ptr<DiffusionPipeline::Loaded> load_pipeline(const std::filesystem::path& path, const PretrainedOptions& options, bool look = false,
                                                         std::span<const Family> among = families());

}  // namespace vivace
