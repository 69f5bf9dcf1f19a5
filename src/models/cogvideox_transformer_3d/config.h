// transformer/config.json of a CogVideoXTransformer3DModel, under its own field names.
#pragma once

#include <string>

#include "base/json.h"

namespace vivace {

struct CogVideoXTransformer3DConfig {
  int64_t num_attention_heads = 30, attention_head_dim = 64, num_layers = 30;
  int64_t in_channels = 16, out_channels = 16;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int64_t time_embed_dim = 512, ofs_embed_dim = 0, text_embed_dim = 4096;  // no ofs embedding: 0
  int64_t sample_width = 90, sample_height = 60, sample_frames = 49;       // of the latents, but frames of the video
  int64_t patch_size = 2, patch_size_t = 0;                                // 0: one frame a patch, by a convolution (1.0)
  int64_t temporal_compression_ratio = 4, max_text_seq_length = 226;
  std::string activation_fn = "gelu_tanh";  // as the op is called
  double norm_eps = 1e-5;
  double spatial_interpolation_scale = 1.875, temporal_interpolation_scale = 1;
  bool attention_bias = true, norm_elementwise_affine = true, patch_bias = true;
  bool use_rotary_positional_embeddings = false, use_learned_positional_embeddings = false;

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  int64_t frames_a_patch() const { return patch_size_t ? patch_size_t : 1; }
  // Values of a patch for each channel.
  int64_t patch_values() const { return patch_size * patch_size * frames_a_patch(); }
  // Latent frames of a video of so many.
  int64_t latent_frames(int64_t frames) const { return (frames - 1) / temporal_compression_ratio + 1; }
  // Patches of a video of the size that the model was made for: what learned positions are of.
  int64_t own_tokens() const { return latent_frames(sample_frames) * (sample_height / patch_size) * (sample_width / patch_size); }
};

// Throws UserError naming file and field.
CogVideoXTransformer3DConfig read_cogvideox_transformer_3d_config(const Config& config);

}  // namespace vivace
