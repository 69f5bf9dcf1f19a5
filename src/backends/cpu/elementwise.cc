// Elementwise ops, single or fused, as tile programs (kernels/elementwise/tile.h).
#include "backends/cpu/kernels/elementwise/elementwise.h"

#include <algorithm>
#include <array>

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "backends/tile_layout.h"
#include "base/log.h"
#include "ops/tile_program.h"
#include "vivace/error.h"

namespace vivace::cpu {
namespace {

struct Tiling {
  TileArguments arguments;
  TileProgram program;
  int64_t repeats = 1;
  std::array<int64_t, kTileInputs> input_step{};  // bytes an input moves on a repeat
  int64_t output_step = 0;
};

TileOp tile_op(Op op) {
  switch (elementwise(op)) {
    case Elementwise::add:
      return TileOp::add;
    case Elementwise::sub:
      return TileOp::sub;
    case Elementwise::mul:
      return TileOp::mul;
    case Elementwise::div:
      return TileOp::div;
    case Elementwise::silu:
      return TileOp::silu;
    case Elementwise::gelu:
      return TileOp::gelu;
    case Elementwise::gelu_tanh:
      return TileOp::gelu_tanh;
    case Elementwise::quick_gelu:
      return TileOp::quick_gelu;
    case Elementwise::relu:
      return TileOp::relu;
    case Elementwise::exp:
      return TileOp::exp;
    case Elementwise::rsqrt:
      return TileOp::rsqrt;
    case Elementwise::affine:
      return TileOp::affine;
    case Elementwise::clamp:
      return TileOp::clamp;
    case Elementwise::cast:
      return TileOp::cast;
  }
  throw InternalError(cat("no tile instruction for ", op_name(op)));
}

TileInstruction tile_instruction(const vivace::TileInstruction& t, uint8_t dst, const auto& register_of) {
  TileInstruction i{.op = tile_op(t.op), .dst = dst, .a = register_of(t.args[0])};
  if (t.args.size() > 1) i.b = register_of(t.args[1]);
  if (t.op == Op::cast) i.dtype = parse_dtype(t.attrs.text("to"));
  if (t.op == Op::affine) {
    i.p = static_cast<float>(t.attrs.real("scale", 1));
    i.q = static_cast<float>(t.attrs.real("shift"));
  }
  if (t.op == Op::clamp) {
    i.p = static_cast<float>(t.attrs.real("min"));
    i.q = static_cast<float>(t.attrs.real("max"));
  }
  return i;
}

Refusal refuse(const KernelCall& call) {
  if (call.in.size() > kTileInputs) return "more inputs than a tile program takes";
  if (static_cast<int>(tile_instructions(call).size()) > kTileInstructions) return "more instructions than a tile program holds";
  return refuse_tile(call);
}

Tiling make_tiling(const KernelCall& call, const Buffers& buffers) {
  Tiling t;
  const auto instructions = tile_instructions(call);
  const TileLayout layout = tile_layout(call);
  const auto inputs = static_cast<uint8_t>(call.in.size());
  t.repeats = layout.repeats;
  t.arguments.rows = layout.rows;
  t.arguments.channels = layout.channels;
  t.arguments.rows_per_image = layout.rows_per_image;
  t.output_step = layout.output_step;
  t.program.input_count = inputs;
  for (size_t i = 0; i < inputs; ++i) {
    t.program.inputs[i] = layout.inputs[i].type;
    t.arguments.inputs[i] = buffers.in[i];
    t.arguments.input_strides[i] = layout.inputs[i].stride;
    t.input_step[i] = layout.inputs[i].step;
  }
  // Results live in the registers behind the inputs; a register is free again after the last instruction that reads it.
  std::vector<int> last_read(instructions.size(), static_cast<int>(instructions.size()));
  for (size_t i = 0; i < instructions.size(); ++i)
    for (int arg : instructions[i].args)
      if (arg >= 0) last_read[static_cast<size_t>(arg)] = static_cast<int>(i);
  last_read.back() = static_cast<int>(instructions.size());
  std::array<int, kTileRegisters> busy_until{};
  std::vector<uint8_t> home(instructions.size());
  for (size_t i = 0; i < instructions.size(); ++i) {
    uint8_t reg = inputs;
    while (reg < kTileRegisters && busy_until[reg] > static_cast<int>(i)) ++reg;
    if (reg == kTileRegisters) throw InternalError("a tile program needs more registers than there are");
    home[i] = reg;
    busy_until[reg] = last_read[i];
    t.program.instructions[i] =
        tile_instruction(instructions[i], reg, [&](int arg) { return arg < 0 ? static_cast<uint8_t>(~arg) : home[static_cast<size_t>(arg)]; });
  }
  t.program.instruction_count = static_cast<uint8_t>(instructions.size());
  t.program.output_count = 1;
  t.program.outputs[0] = {call.out.dtype, home.back()};
  t.arguments.outputs[0] = buffers.out;
  t.arguments.output_strides[0] = call.out.row_pitch();
  if (const char* error = tile_program_error(t.program)) throw InternalError(cat("tile program of ", op_name(call.op), ": ", error));
  return t;
}

std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
  Tiling t = make_tiling(call, buffers);
  if (t.repeats == 1) return bound([t](Stream& stream) { tile_run(t.program, t.arguments, &stream.stop); });
  return bound([t](Stream& stream) {
    TileArguments a = t.arguments;
    for (int64_t r = 0; r < t.repeats && !stopped(&stream.stop); ++r) {
      tile_run(t.program, a, &stream.stop);
      for (int i = 0; i < t.program.input_count; ++i) a.inputs[i] = static_cast<const char*>(a.inputs[i]) + t.input_step[static_cast<size_t>(i)];
      a.outputs[0] = static_cast<char*>(a.outputs[0]) + t.output_step;
    }
  });
}

}  // namespace

std::span<const KernelEntry> elementwise_entries() {
  static const std::vector<KernelEntry> list = [] {
    std::vector<KernelEntry> all;
    for (int i = 0; i < op_count(); ++i)
      if (const Op op = static_cast<Op>(i); is_elementwise(op) || op == Op::tile)
        all.push_back(
            {.name = std::string(op_name(op)), .op = op, .ask = accept<bind, refuse>, .strided_in = true, .strided_out = true, .in_place = true});
    return all;
  }();
  return list;
}

}  // namespace vivace::cpu
