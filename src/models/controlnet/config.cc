#include "models/controlnet/config.h"

#include <algorithm>

namespace vivace {

ControlNetConfig read_controlnet_config(const Config& c) {
  ControlNetConfig v;
  v.unet = read_unet_encoder_config(c);
  v.conditioning_channels = c.get_or<int64_t>("conditioning_channels", 3);
  v.conditioning_embedding_out_channels = c.get_or<std::vector<int64_t>>("conditioning_embedding_out_channels", {16, 32, 96, 256});
  const auto& channels = v.conditioning_embedding_out_channels;
  if (channels.empty() || channels.size() > 8 || std::ranges::any_of(channels, [](int64_t n) { return n < 1; }))
    c.unsupported("conditioning_embedding_out_channels", "1 to 8 numbers of channels");
  if (v.conditioning_channels != 3) c.unsupported("conditioning_channels", "3 (RGB)");
  c.require<std::string>("controlnet_conditioning_channel_order", "rgb");
  c.require<bool>("global_pool_conditions", false);
  return v;
}

}  // namespace vivace
