// Which model a single file holds: by the names and shapes of its tensors, never by the file's name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "weights/tensor_file.h"

namespace vivace {

// The folder of configs (assets/configs) that fits: "sdxl-base". Throws UserError naming `file` and what it seems to hold where it is no model that
// Vivace runs.
std::string_view known_checkpoint(std::span<const WeightInfo> tensors, const std::string& file);

// What the file says of its noise schedule, which neither names nor shapes tell: tensors called "v_pred" and "ztsnr", as the trainers of such models
// leave them, and "modelspec.prediction_type" of its metadata.
struct FilePrediction {
  std::string_view type;  // "v_prediction", "epsilon"; empty: it does not say
  bool zero_snr = false;  // trained down to a signal of nothing
};
FilePrediction file_prediction(std::span<const WeightInfo> tensors, const Metadata& metadata);

}  // namespace vivace
