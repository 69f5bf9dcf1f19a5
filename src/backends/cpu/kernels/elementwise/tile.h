// Fused chains of elementwise operations: a small program over tiles of floats that stay in the first-level cache, run by a vectorised
// interpreter. Each instruction is one loop over a tile, so the cost of reading the program is shared by about a thousand elements, and nothing
// has to be compiled on the user's machine. A TileProgram is plain data: it can be stored in a plan and printed as source for another device.
#pragma once

#include <cstdint>

#include "base/stop.h"
#include "ops/tile_input.h"

namespace vivace::cpu {

inline constexpr int kTileInputs = 8, kTileOutputs = 4, kTileInstructions = 32, kTileRegisters = 16;

// All on float32 registers. a, b: registers; p, q: constants of the instruction.
enum class TileOp : uint8_t {
  add,     // a + b
  sub,     // a - b
  mul,     // a * b
  div,     // a / b
  affine,  // a * p + q
  clamp,   // to [p, q], a NaN kept
  exp,
  rsqrt,       // 1 / sqrt(a)
  silu,        // a * sigmoid(a)
  gelu,        // a / 2 * (1 + erf(a / sqrt 2))
  gelu_tanh,   // its tanh approximation
  quick_gelu,  // a * sigmoid(1.702 a)
  relu,        // max(a, 0), a NaN kept
  cast,        // a rounded to `dtype` and back: what storing and loading it would give
};
inline constexpr int kTileOpCount = static_cast<int>(TileOp::cast) + 1;

struct TileInstruction {
  TileOp op = TileOp::cast;
  uint8_t dst = 0, a = 0, b = 0;
  DType dtype = DType::float32;  // of cast
  float p = 0.f, q = 0.f;
};

struct TileOutput {
  DType dtype = DType::float32;
  uint8_t source = 0;  // register
};

// Registers 0 .. input_count - 1 hold the inputs and are never written; the others are free. Instructions run in order, then the outputs are
// stored. float32, bfloat16 and float16 in and out.
struct TileProgram {
  uint8_t input_count = 0, output_count = 0, instruction_count = 0;
  TileInput inputs[kTileInputs];
  TileOutput outputs[kTileOutputs];
  TileInstruction instructions[kTileInstructions];
};

// Null when tile_run may run the program, otherwise what is wrong with it: counts, registers out of range or read before they are written,
// writes to inputs, dtypes. For programs read from a file.
const char* tile_program_error(const TileProgram& program) noexcept;

struct TileArguments {
  int64_t rows = 1, channels = 0;
  int64_t rows_per_image = 0;  // for image_channel inputs; 0: all rows are one image
  const void* inputs[kTileInputs] = {};
  int64_t input_strides[kTileInputs] = {};
  void* outputs[kTileOutputs] = {};
  int64_t output_strides[kTileOutputs] = {};  // elements between rows
};

// Runs the program over [rows, channels]. An output may be the memory of a full input with the same dtype and stride, unless a later output is
// that input itself; no other overlap. What is stopped leaves its outputs unfinished.
void tile_run(const TileProgram& program, const TileArguments& arguments, Stop stop = nullptr) noexcept;

}  // namespace vivace::cpu
