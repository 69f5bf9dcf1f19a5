// Blocks of a model that occur again and again, as Diffusers' _repeated_blocks lists them: what regional compilation compiles once.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace vivace::cli {

struct RepeatedBlock {
  std::string class_name;  // "BasicTransformerBlock"
  int count = 0;
  int kinds = 0;  // how many of them differ in the shape of a weight
};

// By the scopes of the graph's nodes: "mid_block.resnets.0" is a ResnetBlock2D.
std::vector<RepeatedBlock> repeated_blocks(const Graph& graph);

}  // namespace vivace::cli
