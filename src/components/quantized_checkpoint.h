// Checkpoints with quantised weights: a Diffusers folder whose unet holds, for each quantised layer, "<layer>.weight" as I8 (or F8_E4M3) and
// "<layer>.weight_scale" as F32 [out]: weight = 8 bits * scale. Its config.json says so:
//   "quantization_config": {"quant_method": "vivace", "quant_type": "int8-dynamic" | "float8-dynamic" | "int8-weight-only" | "float8-weight-only"}
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/json.h"
#include "components/quantization.h"

namespace vivace {

// What the config and the stored dtypes say of a component's layers; empty where nothing is quantised. The component's graph is built only where
// something is.
// Throws UserError that names the field or the tensor: 8 bits without a quantization_config and the reverse, an unknown one, 8 bits outside of a
// linear layer or of another type than the config says, scales that are no floats.
LayerQuantization stored_quantization(const Config& config, const WeightStack& weights, const std::function<Graph()>& graph);

struct QuantizedCheckpointOptions {
  Quantization kind = Quantization::int8_dynamic;
  LayerQuantization layers;  // of the unet, all of that kind
  std::string variant;       // of the unet's weight files
  // Called before each of the unet's tensors is made; may throw, which leaves no partial file.
  std::function<void(const std::string& tensor)> on_tensor;
};

// Copies `model` to `out` with the unet's layers quantised, one tensor at a time. Throws UserError naming what is wrong or cannot be written.
void write_quantized_checkpoint(const std::filesystem::path& model, const std::filesystem::path& out, const QuantizedCheckpointOptions& options);

}  // namespace vivace
