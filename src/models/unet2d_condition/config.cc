#include "models/unet2d_condition/config.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <ranges>

#include "base/joined.h"
#include "base/json.h"
#include "models/common/config_fields.h"

namespace vivace {
namespace {

// Fields that would change the result and that the builder does not build: only the value that switches them off is accepted.
void refuse_unsupported(const Config& c) {
  for (const char* key : {"class_embed_type", "encoder_hid_dim_type", "encoder_hid_dim", "num_class_embeds", "cross_attention_norm"})
    if (c.has(key) && !c.is_null(key)) c.unsupported(key, "null");
  c.require<bool>("dual_cross_attention", false);
  c.require<bool>("resnet_skip_time_act", false);
  c.require<std::string>("attention_type", "default");
  c.require<std::string>("time_embedding_type", "positional");
}

std::vector<std::string> block_types(const Config& c, const char* key, std::vector<std::string> fallback,
                                     std::initializer_list<std::string_view> known) {
  auto types = c.get_or<std::vector<std::string>>(key, std::move(fallback));
  for (const std::string& type : types)
    if (std::ranges::count(known, type) == 0) c.unsupported(key, joined(known, " or "));
  return types;
}

// transformer_layers_per_block: a number, a list, or a list whose entries are lists (one entry a layer); the last form needs its own up order.
std::vector<std::vector<int64_t>> per_layer(const Config& c, const char* key, size_t levels, const std::vector<int64_t>& layers, int64_t extra) {
  auto lists = c.ints_per_level(key, levels, 1);
  for (size_t i = 0; i < levels; ++i) {
    const auto count = static_cast<size_t>(layers[i] + extra);
    for (int64_t entry : lists[i])
      if (entry < 0 || entry > 1024) c.unsupported(key, "0 to 1024");
    if (lists[i].size() == 1) lists[i].assign(count, lists[i][0]);
    if (lists[i].size() != count) c.unsupported(key, "one entry for each layer of a block");
  }
  return lists;
}

// "0.6.0.dev0" and the like.
bool is_before_0_9(const std::string& version) {
  int major = 0, minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && major == 0 && minor < 9;
}

void read_sample_size(const Config& c, UNetConfig& u) {
  if (c.is_list("sample_size")) {
    const auto sizes = c.get<std::vector<int64_t>>("sample_size");
    if (sizes.size() != 2) c.unsupported("sample_size", "a number, or height and width");
    u.sample_height = sizes[0], u.sample_width = sizes[1];
  } else {
    u.sample_height = u.sample_width = c.get_or<int64_t>("sample_size", 64);
    u.outdated_sample_size = u.sample_height < 64 && is_before_0_9(c.get_or<std::string>("_diffusers_version", ""));
  }
  if (u.sample_height <= 0 || u.sample_width <= 0) c.unsupported("sample_size", "a positive size");
}

UNetConfig read(const Config& c, bool whole) {
  refuse_unsupported(c);
  UNetConfig u;
  u.block_out_channels = c.get_or<std::vector<int64_t>>("block_out_channels", {320, 640, 1280, 1280});
  const size_t levels = u.block_out_channels.size();
  if (levels == 0) c.unsupported("block_out_channels", "at least one block");
  const std::string cross = "CrossAttnDownBlock2D", up = "CrossAttnUpBlock2D";
  u.down_block_types = block_types(c, "down_block_types", {cross, cross, cross, "DownBlock2D"}, {"DownBlock2D", "CrossAttnDownBlock2D"});
  if (whole)
    u.up_block_types = block_types(c, "up_block_types", {"UpBlock2D", up, up, up}, {"UpBlock2D", "CrossAttnUpBlock2D"});
  else
    std::ranges::transform(u.down_block_types | std::views::reverse, std::back_inserter(u.up_block_types),
                           [&](const std::string& type) { return has_attention(type) ? up : "UpBlock2D"; });
  if (u.down_block_types.size() != levels) c.unsupported("down_block_types", "as many blocks as block_out_channels has entries");
  if (u.up_block_types.size() != levels) c.unsupported("up_block_types", "as many blocks as block_out_channels has entries");
  u.mid_block_type = c.has("mid_block_type") && c.is_null("mid_block_type")
                         ? ""
                         : c.one_of("mid_block_type", {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D"}, "UNetMidBlock2DCrossAttn");
  read_sample_size(c, u);
  u.in_channels = c.get_or<int64_t>("in_channels", 4);
  u.out_channels = c.get_or<int64_t>("out_channels", 4);
  u.center_input_sample = c.get_or<bool>("center_input_sample", false);
  u.flip_sin_to_cos = c.get_or<bool>("flip_sin_to_cos", true);
  u.freq_shift = c.get_or<double>("freq_shift", 0);
  u.layers_per_block = c.int_per_level("layers_per_block", levels, 2);
  for (int64_t layers : u.layers_per_block)
    if (layers < 1 || layers > 1024) c.unsupported("layers_per_block", "1 to 1024");
  // Diffusers' old misnomer: attention_head_dim holds the number of heads unless num_attention_heads is given.
  u.num_attention_heads =
      c.get_optional<std::vector<int64_t>>("num_attention_heads") && c.is_list("num_attention_heads")
          ? c.int_per_level("num_attention_heads", levels)
          : c.int_per_level(c.has("num_attention_heads") && !c.is_null("num_attention_heads") ? "num_attention_heads" : "attention_head_dim", levels,
                            8);
  const auto context = c.int_per_level("cross_attention_dim", levels, 1280);
  u.cross_attention_dim = context.back();
  for (size_t i = 0; i < levels; ++i)
    if (has_attention(u.down_block_types[i]) && context[i] != u.cross_attention_dim)
      c.unsupported("cross_attention_dim", "one size for all blocks with attention");
  u.only_cross_attention = c.bool_per_level("only_cross_attention", levels, false);
  u.transformer_layers = per_layer(c, "transformer_layers_per_block", levels, u.layers_per_block, 0);
  u.mid_transformer_layers = u.transformer_layers.back().front();
  std::vector<int64_t> up_layers(u.layers_per_block.rbegin(), u.layers_per_block.rend());
  if (c.has("reverse_transformer_layers_per_block") && !c.is_null("reverse_transformer_layers_per_block")) {
    u.up_transformer_layers = per_layer(c, "reverse_transformer_layers_per_block", levels, up_layers, 1);
  } else {
    for (size_t i = levels; i-- > 0;) {
      const auto& list = u.transformer_layers[i];
      if (std::ranges::adjacent_find(list, std::ranges::not_equal_to{}) != list.end())
        c.unsupported("transformer_layers_per_block", "entries that are numbers, or reverse_transformer_layers_per_block beside nested lists");
      u.up_transformer_layers.emplace_back(static_cast<size_t>(u.layers_per_block[i] + 1), list[0]);
    }
  }
  u.downsample_padding = c.get_or<int64_t>("downsample_padding", 1);
  u.mid_block_scale_factor = c.get_or<double>("mid_block_scale_factor", 1);
  u.resnet_time_scale_shift = c.one_of("resnet_time_scale_shift", {"default", "scale_shift"}, "default") == "scale_shift";
  u.act_fn = activation_field(c, "act_fn", "silu");
  u.time_embedding_act_fn = activation_field(c, "time_embedding_act_fn", "");
  u.timestep_post_act = activation_field(c, "timestep_post_act", "");
  u.norm_num_groups = c.get_or<int64_t>("norm_num_groups", 32);
  u.norm_eps = c.get_or<double>("norm_eps", 1e-5);
  u.use_linear_projection = c.get_or<bool>("use_linear_projection", false);
  u.addition_embed_type = c.is_null("addition_embed_type") ? "" : c.one_of("addition_embed_type", {"text_time"}, "");
  u.addition_time_embed_dim = c.get_or<int64_t>("addition_time_embed_dim", 0);
  u.projection_class_embeddings_input_dim = c.get_or<int64_t>("projection_class_embeddings_input_dim", 0);
  u.time_embedding_dim = c.get_or<int64_t>("time_embedding_dim", 4 * u.block_out_channels[0]);
  u.time_cond_proj_dim = c.get_or<int64_t>("time_cond_proj_dim", 0);
  u.conv_in_kernel = c.get_or<int64_t>("conv_in_kernel", 3);
  u.conv_out_kernel = c.get_or<int64_t>("conv_out_kernel", 3);
  for (const auto& [key, size] : {std::pair{"conv_in_kernel", u.conv_in_kernel}, {"conv_out_kernel", u.conv_out_kernel}})
    if (size < 1 || size % 2 == 0) c.unsupported(key, "an odd size");
  if (u.addition_embed_type == "text_time" && u.addition_time_embed_dim <= 0)
    c.unsupported("addition_time_embed_dim", "a positive size, as addition_embed_type is \"text_time\"");
  if (u.addition_embed_type == "text_time") {
    const int64_t total = u.projection_class_embeddings_input_dim, one = u.addition_time_embed_dim;
    // The refiner's only text encoder gives prompt and pooled prompt of one width.
    u.time_id_count = total - 5 * one == u.cross_attention_dim && total - 6 * one != u.cross_attention_dim ? 5 : 6;
    if (total - u.time_id_count * one <= 0) c.unsupported("projection_class_embeddings_input_dim", "more than 6 times addition_time_embed_dim");
  }
  for (size_t i = 0; i < levels; ++i) {
    if (u.norm_num_groups <= 0 || u.block_out_channels[i] <= 0 || u.block_out_channels[i] % u.norm_num_groups)
      c.unsupported("norm_num_groups", "a divisor of every entry of block_out_channels");
    const bool attends = has_attention(u.down_block_types[i]) || has_attention(u.up_block_types[levels - 1 - i]) ||
                         (i + 1 == levels && u.mid_block_type == "UNetMidBlock2DCrossAttn");
    if (attends && (u.num_attention_heads[i] <= 0 || u.block_out_channels[i] % u.num_attention_heads[i]))
      c.unsupported("attention_head_dim", "head counts that divide block_out_channels");
  }
  return u;
}

}  // namespace

UNetConfig read_unet_config(const Config& config) { return read(config, true); }
UNetConfig read_unet_encoder_config(const Config& config) { return read(config, false); }

}  // namespace vivace
