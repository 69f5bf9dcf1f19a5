#include "models/cogvideox_transformer_3d/config.h"

#include <cmath>

namespace vivace {

CogVideoXTransformer3DConfig read_cogvideox_transformer_3d_config(const Config& c) {
  CogVideoXTransformer3DConfig t;
  t.num_attention_heads = c.get_or("num_attention_heads", t.num_attention_heads);
  t.attention_head_dim = c.get_or("attention_head_dim", t.attention_head_dim);
  t.num_layers = c.get_or("num_layers", t.num_layers);
  t.in_channels = c.get_or("in_channels", t.in_channels);
  t.out_channels = c.get_or("out_channels", t.out_channels);
  t.flip_sin_to_cos = c.get_or("flip_sin_to_cos", t.flip_sin_to_cos);
  t.freq_shift = c.get_or("freq_shift", t.freq_shift);
  t.time_embed_dim = c.get_or("time_embed_dim", t.time_embed_dim);
  t.ofs_embed_dim = c.get_or("ofs_embed_dim", t.ofs_embed_dim);
  t.text_embed_dim = c.get_or("text_embed_dim", t.text_embed_dim);
  t.sample_width = c.get_or("sample_width", t.sample_width);
  t.sample_height = c.get_or("sample_height", t.sample_height);
  t.sample_frames = c.get_or("sample_frames", t.sample_frames);
  t.patch_size = c.get_or("patch_size", t.patch_size);
  t.patch_size_t = c.get_or("patch_size_t", t.patch_size_t);
  t.temporal_compression_ratio = c.get_or("temporal_compression_ratio", t.temporal_compression_ratio);
  t.max_text_seq_length = c.get_or("max_text_seq_length", t.max_text_seq_length);
  const std::string act = c.one_of("activation_fn", {"gelu-approximate", "gelu"}, "gelu-approximate");
  t.activation_fn = act == "gelu-approximate" ? "gelu_tanh" : act;
  c.one_of("timestep_activation_fn", {"silu"}, "silu");
  t.norm_eps = c.get_or("norm_eps", t.norm_eps);
  t.spatial_interpolation_scale = c.get_or("spatial_interpolation_scale", t.spatial_interpolation_scale);
  t.temporal_interpolation_scale = c.get_or("temporal_interpolation_scale", t.temporal_interpolation_scale);
  t.attention_bias = c.get_or("attention_bias", t.attention_bias);
  t.norm_elementwise_affine = c.get_or("norm_elementwise_affine", t.norm_elementwise_affine);
  t.patch_bias = c.get_or("patch_bias", t.patch_bias);
  t.use_rotary_positional_embeddings = c.get_or("use_rotary_positional_embeddings", t.use_rotary_positional_embeddings);
  t.use_learned_positional_embeddings = c.get_or("use_learned_positional_embeddings", t.use_learned_positional_embeddings);

  for (const auto& [key, size] : {std::pair{"num_attention_heads", t.num_attention_heads},
                                  {"attention_head_dim", t.attention_head_dim},
                                  {"in_channels", t.in_channels},
                                  {"out_channels", t.out_channels},
                                  {"time_embed_dim", t.time_embed_dim},
                                  {"text_embed_dim", t.text_embed_dim},
                                  {"sample_frames", t.sample_frames},
                                  {"patch_size", t.patch_size},
                                  {"temporal_compression_ratio", t.temporal_compression_ratio},
                                  {"max_text_seq_length", t.max_text_seq_length}})
    if (size < 1) c.unsupported(key, "at least 1");
  for (const auto& [key, size] : {std::pair{"sample_height", t.sample_height}, {"sample_width", t.sample_width}})
    if (size < t.patch_size) c.unsupported(key, "at least patch_size");
  if (t.num_layers < 0 || t.num_layers > 1024) c.unsupported("num_layers", "0 to 1024");
  if (c.has("patch_size_t") && !c.is_null("patch_size_t") && t.patch_size_t < 1) c.unsupported("patch_size_t", "at least 1, or null");
  if (t.ofs_embed_dim && t.ofs_embed_dim != t.time_embed_dim)
    c.unsupported("ofs_embed_dim", "null, or the same as time_embed_dim, which it is added to");
  for (const auto& [key, scale] :
       {std::pair{"spatial_interpolation_scale", t.spatial_interpolation_scale}, {"temporal_interpolation_scale", t.temporal_interpolation_scale}})
    if (!(scale > 0) || !std::isfinite(scale)) c.unsupported(key, "a positive number");
  // A quarter of a position's features is of the frame and three eighths each of row and column, in pairs.
  if (t.use_rotary_positional_embeddings && t.attention_head_dim % 16) c.unsupported("attention_head_dim", "a multiple of 16 (rotary positions)");
  const bool has_table = !t.use_rotary_positional_embeddings || t.use_learned_positional_embeddings;
  if (has_table && t.inner_dim() % 16) c.unsupported("attention_head_dim", "a product with num_attention_heads that 16 divides");
  // As Diffusers refuses them: a table of positions has an entry for each latent frame.
  if (t.use_learned_positional_embeddings && !t.use_rotary_positional_embeddings)
    c.unsupported("use_learned_positional_embeddings", "false without use_rotary_positional_embeddings");
  if (has_table && t.frames_a_patch() > 1)
    c.unsupported("patch_size_t", "null or 1 with a table of positions (use_rotary_positional_embeddings false)");
  return t;
}

}  // namespace vivace
