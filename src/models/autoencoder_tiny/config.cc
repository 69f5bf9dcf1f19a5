#include "models/autoencoder_tiny/config.h"

#include <algorithm>

#include "models/common/config_fields.h"

namespace vivace {
namespace {

// Diffusers' layers fit one another only where all blocks have as many channels.
int64_t same_everywhere(const Config& c, const char* key, const char* blocks, size_t levels) {
  const auto channels = c.get_or<std::vector<int64_t>>(key, {64, 64, 64, 64});
  if (channels.size() != levels) c.unsupported(key, std::string("as many entries as ") + blocks);
  if (channels[0] <= 0 || std::ranges::count(channels, channels[0]) != static_cast<ptrdiff_t>(levels))
    c.unsupported(key, "the same number of channels everywhere");
  return channels[0];
}

std::vector<int64_t> block_counts(const Config& c, const char* key, std::vector<int64_t> fallback) {
  auto counts = c.get_or<std::vector<int64_t>>(key, std::move(fallback));
  const auto wrong = [](int64_t n) { return n < 0 || n > 1024; };
  if (counts.empty() || counts.size() > 8 || std::ranges::any_of(counts, wrong)) c.unsupported(key, "numbers of blocks for 1 to 8 levels");
  return counts;
}

}  // namespace

AutoencoderTinyConfig read_autoencoder_tiny_config(const Config& c) {
  AutoencoderTinyConfig v;
  v.in_channels = c.get_or<int64_t>("in_channels", 3);
  v.out_channels = c.get_or<int64_t>("out_channels", 3);
  v.latent_channels = c.get_or<int64_t>("latent_channels", 4);
  for (const auto& [key, value] : {std::pair{"in_channels", v.in_channels}, {"out_channels", v.out_channels}, {"latent_channels", v.latent_channels}})
    if (value <= 0) c.unsupported(key, "a positive number");
  v.num_encoder_blocks = block_counts(c, "num_encoder_blocks", {1, 3, 3, 3});
  v.num_decoder_blocks = block_counts(c, "num_decoder_blocks", {3, 3, 3, 1});
  v.encoder_channels = same_everywhere(c, "encoder_block_out_channels", "num_encoder_blocks", v.num_encoder_blocks.size());
  v.decoder_channels = same_everywhere(c, "decoder_block_out_channels", "num_decoder_blocks", v.num_decoder_blocks.size());
  v.act_fn = activation_field(c, "act_fn", "relu");
  v.scaling_factor = c.get_or<double>("scaling_factor", 1);
  v.shift_factor = c.get_or<double>("shift_factor", 0);
  if (!(v.scaling_factor > 0)) c.unsupported("scaling_factor", "a positive number");
  c.one_of("upsample_fn", {"nearest"}, "nearest");
  c.require<int64_t>("upsampling_scaling_factor", 2);
  return v;
}

}  // namespace vivace
