#include "weights/names/tables.h"

namespace vivace {
namespace {

// open_clip's text tower: q, k and v are one tensor, and the projection is multiplied from the other side.
constexpr NameRule kOpenClip[] = {
    {"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
    {"text_model.encoder.layers.{a}.layer_norm1.*", "transformer.resblocks.{a}.ln_1.*"},
    {"text_model.encoder.layers.{a}.layer_norm2.*", "transformer.resblocks.{a}.ln_2.*"},
    {"text_model.encoder.layers.{a}.self_attn.q_proj.*", "transformer.resblocks.{a}.attn.in_proj_*", {}, {0, 1, 3}},
    {"text_model.encoder.layers.{a}.self_attn.k_proj.*", "transformer.resblocks.{a}.attn.in_proj_*", {}, {1, 2, 3}},
    {"text_model.encoder.layers.{a}.self_attn.v_proj.*", "transformer.resblocks.{a}.attn.in_proj_*", {}, {2, 3, 3}},
    {"text_model.encoder.layers.{a}.self_attn.out_proj.*", "transformer.resblocks.{a}.attn.out_proj.*"},
    {"text_model.encoder.layers.{a}.mlp.fc1.*", "transformer.resblocks.{a}.mlp.c_fc.*"},
    {"text_model.encoder.layers.{a}.mlp.fc2.*", "transformer.resblocks.{a}.mlp.c_proj.*"},
    {"text_model.final_layer_norm.*", "ln_final.*"},
    {"text_projection.weight", "text_projection", {}, {}, Change::transpose},
};
// Stable Diffusion 2 reads the last layer but one, so its model ends there; the file does not.
constexpr std::string_view kOpenClipBesides[] = {"transformer.", "text_projection", "logit_scale", "attn_mask"};

// transformers' names, of its releases with and without the level.
constexpr NameRule kTransformers[] = {{"*", "*"}, {"text_model.*", "*"}};
constexpr std::string_view kTransformersBesides[] = {
    "text_projection.weight", "text_projection",         "logit_scale", "text_model.embeddings.position_ids", "embeddings.position_ids",
    "vision_model.",          "visual_projection.weight"};

constexpr std::string_view kWithLevel = "text_model.embeddings.token_embedding.weight", kWithout = "embeddings.token_embedding.weight";

constexpr Spelling kText[] = {
    {"cond_stage_model.transformer.", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"cond_stage_model.transformer.", kWithout, kTransformers, {}, kTransformersBesides},
    {"cond_stage_model.model.", "token_embedding.weight", kOpenClip, {}, kOpenClipBesides},
    {"conditioner.embedders.0.transformer.", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"text_encoders.clip_l.transformer.", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"", kWithout, kTransformers, {}, kTransformersBesides},
};
constexpr Spelling kTextWithProjection[] = {
    {"conditioner.embedders.1.model.", "token_embedding.weight", kOpenClip, {}, kOpenClipBesides},
    {"conditioner.embedders.0.model.", "token_embedding.weight", kOpenClip, {}, kOpenClipBesides},
    {"text_encoders.clip_g.transformer.", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"", "token_embedding.weight", kOpenClip, {}, kOpenClipBesides},
    {"", kWithLevel, kTransformers, {}, kTransformersBesides},
    {"", kWithout, kTransformers, {}, kTransformersBesides},
};

}  // namespace

std::span<const Spelling> clip_text_spellings() { return kText; }
std::span<const Spelling> clip_text_with_projection_spellings() { return kTextWithProjection; }

}  // namespace vivace
