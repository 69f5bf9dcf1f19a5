#include "weights/names/tables.h"

namespace vivace {
namespace {

// Black Forest Labs' names. linear1 of a single block is q, k, v and the MLP, which is four times as wide as each.
constexpr NameRule kRules[] = {
    {"x_embedder.*", "img_in.*"},
    {"context_embedder.*", "txt_in.*"},
    {"time_text_embed.timestep_embedder.linear_1.*", "time_in.in_layer.*"},
    {"time_text_embed.timestep_embedder.linear_2.*", "time_in.out_layer.*"},
    {"time_text_embed.guidance_embedder.linear_1.*", "guidance_in.in_layer.*"},
    {"time_text_embed.guidance_embedder.linear_2.*", "guidance_in.out_layer.*"},
    {"time_text_embed.text_embedder.linear_1.*", "vector_in.in_layer.*"},
    {"time_text_embed.text_embedder.linear_2.*", "vector_in.out_layer.*"},
    {"transformer_blocks.{a}.norm1.linear.*", "double_blocks.{a}.img_mod.lin.*"},
    {"transformer_blocks.{a}.norm1_context.linear.*", "double_blocks.{a}.txt_mod.lin.*"},
    {"transformer_blocks.{a}.attn.to_q.*", "double_blocks.{a}.img_attn.qkv.*", {}, {0, 1, 3}},
    {"transformer_blocks.{a}.attn.to_k.*", "double_blocks.{a}.img_attn.qkv.*", {}, {1, 2, 3}},
    {"transformer_blocks.{a}.attn.to_v.*", "double_blocks.{a}.img_attn.qkv.*", {}, {2, 3, 3}},
    {"transformer_blocks.{a}.attn.add_q_proj.*", "double_blocks.{a}.txt_attn.qkv.*", {}, {0, 1, 3}},
    {"transformer_blocks.{a}.attn.add_k_proj.*", "double_blocks.{a}.txt_attn.qkv.*", {}, {1, 2, 3}},
    {"transformer_blocks.{a}.attn.add_v_proj.*", "double_blocks.{a}.txt_attn.qkv.*", {}, {2, 3, 3}},
    {"transformer_blocks.{a}.attn.norm_q.weight", "double_blocks.{a}.img_attn.norm.query_norm.scale"},
    {"transformer_blocks.{a}.attn.norm_k.weight", "double_blocks.{a}.img_attn.norm.key_norm.scale"},
    {"transformer_blocks.{a}.attn.norm_added_q.weight", "double_blocks.{a}.txt_attn.norm.query_norm.scale"},
    {"transformer_blocks.{a}.attn.norm_added_k.weight", "double_blocks.{a}.txt_attn.norm.key_norm.scale"},
    {"transformer_blocks.{a}.attn.to_out.0.*", "double_blocks.{a}.img_attn.proj.*"},
    {"transformer_blocks.{a}.attn.to_add_out.*", "double_blocks.{a}.txt_attn.proj.*"},
    {"transformer_blocks.{a}.ff.net.0.proj.*", "double_blocks.{a}.img_mlp.0.*"},
    {"transformer_blocks.{a}.ff.net.2.*", "double_blocks.{a}.img_mlp.2.*"},
    {"transformer_blocks.{a}.ff_context.net.0.proj.*", "double_blocks.{a}.txt_mlp.0.*"},
    {"transformer_blocks.{a}.ff_context.net.2.*", "double_blocks.{a}.txt_mlp.2.*"},
    {"single_transformer_blocks.{a}.norm.linear.*", "single_blocks.{a}.modulation.lin.*"},
    {"single_transformer_blocks.{a}.attn.to_q.*", "single_blocks.{a}.linear1.*", {}, {0, 1, 7}},
    {"single_transformer_blocks.{a}.attn.to_k.*", "single_blocks.{a}.linear1.*", {}, {1, 2, 7}},
    {"single_transformer_blocks.{a}.attn.to_v.*", "single_blocks.{a}.linear1.*", {}, {2, 3, 7}},
    {"single_transformer_blocks.{a}.proj_mlp.*", "single_blocks.{a}.linear1.*", {}, {3, 7, 7}},
    {"single_transformer_blocks.{a}.attn.norm_q.weight", "single_blocks.{a}.norm.query_norm.scale"},
    {"single_transformer_blocks.{a}.attn.norm_k.weight", "single_blocks.{a}.norm.key_norm.scale"},
    {"single_transformer_blocks.{a}.proj_out.*", "single_blocks.{a}.linear2.*"},
    // There the shift comes before the scale.
    {"norm_out.linear.*", "final_layer.adaLN_modulation.1.*", {}, {}, Change::swap_halves},
    {"proj_out.*", "final_layer.linear.*"},
};

constexpr NameRule kDiffusers[] = {{"*", "*"}};

constexpr std::string_view kProbe = "double_blocks.0.img_attn.qkv.weight";
constexpr Spelling kSpellings[] = {
    {"model.diffusion_model.", kProbe, kRules},
    {"", kProbe, kRules},
    {"", "transformer_blocks.0.attn.add_q_proj.weight", kDiffusers},
};

}  // namespace

std::span<const Spelling> flux_transformer_2d_spellings() { return kSpellings; }

}  // namespace vivace
