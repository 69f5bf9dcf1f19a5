// A checkpoint folder with random weights from a folder of configs, so that any size of model can be run without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "vivace/tensor.h"

namespace vivace {

struct RandomCheckpointOptions {
  DType dtype = DType::float32;  // of the stored weights
  uint32_t seed = 0;             // of the rule in models/common/random_weights.h
  int64_t max_shard_bytes = 0;   // above 0: several files a component, with an index
  // Called before each tensor is made; may throw, which leaves no partial file.
  std::function<void(const std::string& component, const std::string& tensor)> on_tensor;
};

// Copies everything but weights from `configs` to `out` and writes weights for all models, by the rule and one tensor at a time.
// `configs` is a Diffusers folder; tokenizers may be missing. Throws UserError naming what is wrong or cannot be written.
void make_random_checkpoint(const std::filesystem::path& configs, const std::filesystem::path& out, const RandomCheckpointOptions& options);

}  // namespace vivace
