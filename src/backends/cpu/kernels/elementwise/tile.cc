#include "backends/cpu/kernels/elementwise/tile.h"

#include "backends/cpu/kernels/elementwise/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {
namespace {

bool is_tile_float(DType dtype) { return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16; }

bool reads_b(TileOp op) { return op >= TileOp::add && op <= TileOp::div; }

// Whether rows and channels can be taken as one long row.
bool is_flat(const TileProgram& program, const TileArguments& arguments) {
  for (int i = 0; i < program.input_count; ++i) {
    const TileBroadcast broadcast = program.inputs[i].broadcast;
    if (broadcast == TileBroadcast::scalar) continue;
    if (broadcast != TileBroadcast::full || arguments.input_strides[i] != arguments.channels) return false;
  }
  for (int i = 0; i < program.output_count; ++i)
    if (arguments.output_strides[i] != arguments.channels) return false;
  return true;
}

}  // namespace

const char* tile_program_error(const TileProgram& program) noexcept {
  if (program.input_count > kTileInputs) return "more inputs than a tile program has";
  if (program.output_count < 1 || program.output_count > kTileOutputs) return "no output, or more than a tile program has";
  if (program.instruction_count > kTileInstructions) return "more instructions than a tile program has";
  uint32_t written = (1u << program.input_count) - 1;
  const auto readable = [&](int r) { return r < kTileRegisters && (written >> r & 1) != 0; };
  for (int i = 0; i < program.input_count; ++i) {
    if (!is_tile_float(program.inputs[i].dtype)) return "an input whose dtype is not float32, bfloat16 or float16";
    if (program.inputs[i].broadcast > TileBroadcast::scalar) return "an unknown broadcast";
  }
  for (int i = 0; i < program.instruction_count; ++i) {
    const TileInstruction& in = program.instructions[i];
    if (static_cast<int>(in.op) >= kTileOpCount) return "an unknown operation";
    if (!readable(in.a) || (reads_b(in.op) && !readable(in.b))) return "a register is read before it is written";
    if (in.b >= kTileRegisters || in.dst >= kTileRegisters) return "a register out of range";
    if (in.dst < program.input_count) return "a write to an input's register";
    if (in.op == TileOp::cast && !is_tile_float(in.dtype)) return "a cast to a dtype that is not float32, bfloat16 or float16";
    written |= 1u << in.dst;
  }
  for (int i = 0; i < program.output_count; ++i) {
    if (!is_tile_float(program.outputs[i].dtype)) return "an output whose dtype is not float32, bfloat16 or float16";
    if (!readable(program.outputs[i].source)) return "an output register that is never written";
  }
  return nullptr;
}

void tile_run(const TileProgram& program, const TileArguments& arguments, Stop stop) noexcept {
  const auto& run = tile_kernels().run;
  if (is_flat(program, arguments)) {
    TileArguments flat = arguments;
    flat.channels = arguments.rows * arguments.channels;
    flat.rows = 1;
    share_rows(flat.channels, 1, stop, [&](int64_t begin, int64_t end) { run(program, flat, 0, 1, begin, end); });
  } else if (arguments.rows < num_threads() && arguments.channels >= 2 * kElementGrain) {
    share_rows(arguments.channels, 1, stop, [&](int64_t begin, int64_t end) { run(program, arguments, 0, arguments.rows, begin, end); });
  } else {
    share_rows(arguments.rows, arguments.channels, stop,
               [&](int64_t begin, int64_t end) { run(program, arguments, begin, end, 0, arguments.channels); });
  }
}

}  // namespace vivace::cpu
