#include "weights/names/tables.h"

namespace vivace {
namespace {

constexpr NameRule kTransformers[] = {{"*", "*"}, {"shared.weight", "encoder.embed_tokens.weight"}};
constexpr std::string_view kBesides[] = {"encoder.embed_tokens.weight", "decoder.", "lm_head.weight", "logit_scale", "spiece_model"};

// llama.cpp's, in GGUF files.
constexpr NameRule kGguf[] = {
    {"shared.weight", "token_embd.weight"},
    {"encoder.block.{a}.layer.0.SelfAttention.q.weight", "enc.blk.{a}.attn_q.weight"},
    {"encoder.block.{a}.layer.0.SelfAttention.k.weight", "enc.blk.{a}.attn_k.weight"},
    {"encoder.block.{a}.layer.0.SelfAttention.v.weight", "enc.blk.{a}.attn_v.weight"},
    {"encoder.block.{a}.layer.0.SelfAttention.o.weight", "enc.blk.{a}.attn_o.weight"},
    {"encoder.block.{a}.layer.0.SelfAttention.relative_attention_bias.weight", "enc.blk.{a}.attn_rel_b.weight"},
    {"encoder.block.{a}.layer.0.layer_norm.weight", "enc.blk.{a}.attn_norm.weight"},
    {"encoder.block.{a}.layer.1.DenseReluDense.wi_0.weight", "enc.blk.{a}.ffn_gate.weight"},
    {"encoder.block.{a}.layer.1.DenseReluDense.wi_1.weight", "enc.blk.{a}.ffn_up.weight"},
    {"encoder.block.{a}.layer.1.DenseReluDense.wo.weight", "enc.blk.{a}.ffn_down.weight"},
    {"encoder.block.{a}.layer.1.layer_norm.weight", "enc.blk.{a}.ffn_norm.weight"},
    {"encoder.final_layer_norm.weight", "enc.output_norm.weight"},
};
constexpr std::string_view kGgufBesides[] = {"dec.", "output.weight"};

constexpr std::string_view kProbe = "encoder.block.0.layer.0.SelfAttention.q.weight";

constexpr Spelling kSpellings[] = {
    {"text_encoders.t5xxl.transformer.", kProbe, kTransformers, {}, kBesides},
    {"", kProbe, kTransformers, {}, kBesides},
    {"", "enc.blk.0.attn_q.weight", kGguf, {}, kGgufBesides},
};

}  // namespace

std::span<const Spelling> t5_encoder_spellings() { return kSpellings; }

}  // namespace vivace
