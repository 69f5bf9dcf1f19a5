#include "weights/names/tables.h"

namespace vivace {
namespace {

constexpr RestRule kResnet[] = {
    {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
    {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"},
};

// openaimodel.py of Stable Diffusion. L: layers of a block, with what follows them.
constexpr NameRule kRules[] = {
    {"conv_in.*", "input_blocks.0.0.*"},
    {"time_embedding.linear_1.*", "time_embed.0.*"},
    {"time_embedding.linear_2.*", "time_embed.2.*"},
    {"add_embedding.linear_1.*", "label_emb.0.0.*"},
    {"add_embedding.linear_2.*", "label_emb.0.2.*"},
    {"down_blocks.{b}.resnets.{l}.*", "input_blocks.{L*b+l+1}.0.*", kResnet},
    {"down_blocks.{b}.attentions.{l}.*", "input_blocks.{L*b+l+1}.1.*"},
    {"down_blocks.{b}.downsamplers.0.conv.*", "input_blocks.{L*b+L}.0.op.*"},
    {"mid_block.resnets.{l}.*", "middle_block.{2*l}.*", kResnet},
    {"mid_block.attentions.{l}.*", "middle_block.{2*l+1}.*"},
    {"up_blocks.{b}.resnets.{l}.*", "output_blocks.{L*b+l}.0.*", kResnet},
    {"up_blocks.{b}.attentions.{l}.*", "output_blocks.{L*b+l}.1.*"},
    // Behind the attention, where there is one.
    {"up_blocks.{b}.upsamplers.0.conv.*", "output_blocks.{L*b+L-1}.2.conv.*"},
    {"up_blocks.{b}.upsamplers.0.conv.*", "output_blocks.{L*b+L-1}.1.conv.*"},
    {"conv_norm_out.*", "out.0.*"},
    {"conv_out.*", "out.2.*"},
};
constexpr CountedNumber kNumbers[] = {{'L', "input_blocks.{n}.0.op.weight", CountedNumber::least}};

constexpr NameRule kDiffusers[] = {{"*", "*"}};

constexpr Spelling kSpellings[] = {
    {"model.diffusion_model.", "input_blocks.0.0.weight", kRules, kNumbers},
    {"", "input_blocks.0.0.weight", kRules, kNumbers},
    {"", "down_blocks.0.resnets.0.conv1.weight", kDiffusers},
};

}  // namespace

std::span<const Spelling> unet2d_condition_spellings() { return kSpellings; }

}  // namespace vivace
