// How the operands of an elementwise call lie over its result, for what runs tile programs: the CPU's interpreter and the GPU's printed kernels.
#pragma once

#include <vector>

#include "ops/tile_input.h"
#include "ops/tile_program.h"
#include "runtime/kernel.h"

namespace vivace {

// [rows, channels] of the output, `repeats` times over: inputs that lack outer dimensions are read again for each repeat.
struct TileLayout {
  struct Input {
    TileInput type;
    int64_t stride = 0;  // elements, as its broadcast says
    int64_t step = 0;    // bytes it moves on a repeat
  };
  std::vector<Input> inputs;
  int64_t rows = 0, channels = 0, repeats = 1;
  int64_t rows_per_image = 0;  // of inputs that an image has its own of; 0: there are none
  int64_t output_step = 0;     // bytes
};

// Why a call has no layout: an input that does not broadcast by rows or channels, or is no float activation.
Refusal refuse_tile(const KernelCall& call);
TileLayout tile_layout(const KernelCall& call);

// The program of a tile, or that of a single elementwise op.
std::vector<TileInstruction> tile_instructions(const KernelCall& call);

}  // namespace vivace
