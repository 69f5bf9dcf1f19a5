// unet/config.json of a UNet2DConditionModel, under its own field names. A field that is not here either changes nothing at inference or is
// refused by read_unet_config when it asks for something else than what is built.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace vivace {

struct UNetConfig {
  int64_t sample_height = 64, sample_width = 64;  // sample_size, in latent pixels
  bool outdated_sample_size = false;              // one below 64 from before Diffusers 0.9, where Stable Diffusion's pipeline takes 64
  int64_t in_channels = 4, out_channels = 4;
  bool center_input_sample = false, flip_sin_to_cos = true;
  double freq_shift = 0;
  // One entry a block, downwards.
  std::vector<std::string> down_block_types, up_block_types;
  std::string mid_block_type = "UNetMidBlock2DCrossAttn";  // "" for none
  std::vector<int64_t> block_out_channels, layers_per_block, num_attention_heads;
  int64_t cross_attention_dim = 1280;
  std::vector<bool> only_cross_attention;
  std::vector<std::vector<int64_t>> transformer_layers,
      up_transformer_layers;  // transformer blocks of each layer; the second in order of the up blocks
  int64_t mid_transformer_layers = 1;
  int64_t downsample_padding = 1;
  double mid_block_scale_factor = 1;                                      // resnet_out_scale_factor reaches none of these blocks in Diffusers
  bool resnet_time_scale_shift = false;                                   // "scale_shift" instead of "default"
  std::string act_fn = "silu", time_embedding_act_fn, timestep_post_act;  // op names, "" for none
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  std::string addition_embed_type;  // "" or "text_time"
  int64_t addition_time_embed_dim = 0, projection_class_embeddings_input_dim = 0;
  // SDXL has 6 time_ids, its refiner 5; which of them follows from the sizes.
  int64_t time_id_count = 0;
  int64_t time_embedding_dim = 0, time_cond_proj_dim = 0;  // the second is 0 for none
  int64_t conv_in_kernel = 3, conv_out_kernel = 3;
};

// Of a down or up block's type.
inline bool has_attention(std::string_view block_type) { return block_type.starts_with("CrossAttn"); }

// Throws UserError naming file and field.
UNetConfig read_unet_config(const Config& config);
// The same for a model that has the way down and the middle alone (a ControlNet): the way up is its mirror.
UNetConfig read_unet_encoder_config(const Config& config);

}  // namespace vivace
