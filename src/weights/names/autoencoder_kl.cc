#include "weights/names/tables.h"

namespace vivace {
namespace {

constexpr RestRule kResnet[] = {{"norm1", "norm1"}, {"conv1", "conv1"}, {"norm2", "norm2"}, {"conv2", "conv2"}, {"conv_shortcut", "nin_shortcut"}};
constexpr RestRule kAttention[] = {{"group_norm", "norm"}, {"to_q", "q"}, {"to_k", "k"}, {"to_v", "v"}, {"to_out.0", "proj_out"}};

// The autoencoder of taming-transformers, which Stable Diffusion and FLUX have. N: blocks of the decoder, which counts them from the picture's end.
constexpr NameRule kRules[] = {
    {"encoder.down_blocks.{b}.resnets.{l}.*", "encoder.down.{b}.block.{l}.*", kResnet},
    {"encoder.down_blocks.{b}.downsamplers.0.*", "encoder.down.{b}.downsample.*"},
    {"encoder.mid_block.resnets.{l}.*", "encoder.mid.block_{l+1}.*", kResnet},
    {"encoder.mid_block.attentions.{l}.*", "encoder.mid.attn_{l+1}.*", kAttention, {}, Change::matrix},
    {"encoder.conv_norm_out.*", "encoder.norm_out.*"},
    {"decoder.up_blocks.{b}.resnets.{l}.*", "decoder.up.{N-1-b}.block.{l}.*", kResnet},
    {"decoder.up_blocks.{b}.upsamplers.0.*", "decoder.up.{N-1-b}.upsample.*"},
    {"decoder.mid_block.resnets.{l}.*", "decoder.mid.block_{l+1}.*", kResnet},
    {"decoder.mid_block.attentions.{l}.*", "decoder.mid.attn_{l+1}.*", kAttention, {}, Change::matrix},
    {"decoder.conv_norm_out.*", "decoder.norm_out.*"},
    {"*", "*"},  // conv_in, conv_out, quant_conv, post_quant_conv
};
constexpr CountedNumber kNumbers[] = {{'N', "decoder.up.{n}.*", CountedNumber::count}};

constexpr NameRule kDiffusers[] = {{"*", "*"}};

// Training left these in the files of some.
constexpr std::string_view kBesides[] = {"loss.", "model_ema."};

constexpr Spelling kSpellings[] = {
    {"first_stage_model.", "decoder.mid.attn_1.q.weight", kRules, kNumbers, kBesides},
    {"vae.", "decoder.mid.attn_1.q.weight", kRules, kNumbers, kBesides},
    {"", "decoder.mid.attn_1.q.weight", kRules, kNumbers, kBesides},
    {"vae.", "decoder.mid_block.resnets.0.conv1.weight", kDiffusers},
    {"", "decoder.mid_block.resnets.0.conv1.weight", kDiffusers},
};

}  // namespace

std::span<const Spelling> autoencoder_kl_spellings() { return kSpellings; }

}  // namespace vivace
