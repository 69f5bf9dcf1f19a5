// Modules by their names in a state dict.
#pragma once

#include <string>
#include <string_view>

namespace vivace {

// The class, in Diffusers or transformers, of the innermost block that a module lies in: "BasicTransformerBlock" for
// "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"; "" for none of the known ones.
std::string block_class(std::string_view module);

}  // namespace vivace
