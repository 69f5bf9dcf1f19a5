// A profile: the setting that `vivace tune` found for a checkpoint on a machine, as a JSON file.
//   {"format": "vivace-profile-1", "dtype": "float32",
//    "compile": {"mode": "max-autotune", "sdpa": "auto", "error_budget": 0, "layer_error_budgets": {"mid_block.resnets.0.conv1": 0.005, ..},
//                "quantize": {"int8-dynamic": ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", ..]}}, ...}
// What else is in the file (measurements, the bound on drift) is tune's own; docs/bench.md describes it.
#pragma once

#include <filesystem>

#include "vivace/api.h"
#include "vivace/pipeline.h"

namespace vivace VIVACE_API {

inline constexpr const char* kProfileFormat = "vivace-profile-1";

// What to load the pipeline with: from_pretrained(path, load_profile("profile.json")). Throws UserError that names the file and the field.
PretrainedOptions load_profile(const std::filesystem::path& path);

}  // namespace VIVACE_API
