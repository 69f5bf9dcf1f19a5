#include "models/unet2d_condition/model.h"

#include "base/log.h"
#include "models/unet2d_condition/encoder.h"

namespace vivace {
namespace {

// What ControlNets add, as an input of the value's shape.
Value controlled(Builder& b, const std::string& name, Value x, size_t level) {
  const std::string of_level = level ? "_" + std::to_string(level) : "";
  return b.add(x, b.input(name, b.dtype(), b.shape(x), Phase::step, "batch,height" + of_level + ",width" + of_level + ",_"));
}

}  // namespace

Graph build_unet(const UNetConfig& config, const UNetShape& shape, Builder b) {
  UNetEncoder encoder = build_unet_encoder(b, config, shape);
  std::vector<Value>& skips = encoder.skips;
  Value x = encoder.middle;
  const size_t levels = config.block_out_channels.size();
  if (shape.controlled) {
    const std::vector<size_t> level_of = skip_levels(config);
    for (size_t i = 0; i < skips.size(); ++i) skips[i] = controlled(b, cat(kDownResiduals, i), skips[i], level_of[i]);
    x = controlled(b, kMidResidual, x, levels - 1);
  }
  for (size_t i = 0; i < levels; ++i) {
    BlockSpec spec = spec_of(config, levels - 1 - i);
    spec.type = config.up_block_types[i];
    spec.layers = config.up_transformer_layers[i];
    spec.resample = i + 1 < levels;
    spec.forward_upsample_size = forwards_upsample_size(config, shape);
    x = up_block(b, "up_blocks." + std::to_string(i), x, encoder.conditioning, spec, config, skips);
  }
  x = b.activation(group_norm(b, "conv_norm_out", x, config.norm_num_groups, config.norm_eps), config.act_fn);
  b.output("sample", conv2d_same(b, "conv_out", x, config.out_channels, config.conv_out_kernel));
  return b.take();
}

}  // namespace vivace
