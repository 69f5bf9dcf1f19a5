// Ops along one axis, which lies between the `outer` entries before it and the `inner` elements of one of its own: repeat_interleave, avg_pool.
#include <algorithm>
#include <cstring>

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "base/log.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes worth waking a thread for

struct Axis {
  int64_t outer = 1, entries = 0, out_entries = 0, inner = 1, keep = 0;
  explicit Axis(const KernelCall& call) : keep(call.attrs->integer("keep")) {
    const Shape &x = call.in[0]->shape, &y = call.out.shape;
    const auto rank = static_cast<int64_t>(x.size());
    const auto axis = static_cast<ptrdiff_t>((call.attrs->integer("axis") + rank) % rank);
    outer = numel({x.begin(), x.begin() + axis}), inner = numel({x.begin() + axis + 1, x.end()});
    entries = x[static_cast<size_t>(axis)], out_entries = y[static_cast<size_t>(axis)];
  }
};

std::unique_ptr<BoundKernel> bind_repeat_interleave(const KernelCall& call, const Buffers& buffers) {
  const Axis axis(call);
  const auto bytes = static_cast<size_t>(axis.inner) * dtype_size(call.out.dtype);
  return bound([=, repeats = call.attrs->integer("repeats"), from = static_cast<const char*>(buffers.in[0]), to = static_cast<char*>(buffers.out)] {
    parallel_for(axis.outer * axis.out_entries, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, static_cast<int64_t>(bytes))),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t entry = i % axis.out_entries, source = entry < axis.keep ? entry : axis.keep + (entry - axis.keep) / repeats;
                     std::memcpy(to + static_cast<size_t>(i) * bytes,
                                 from + static_cast<size_t>(i / axis.out_entries * axis.entries + source) * bytes, bytes);
                   }
                 });
  });
}

Refusal refuse_avg_pool(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  if (call.attrs->integer("size") > kTileInputs) return cat("means of more than ", kTileInputs, " entries");
  return std::nullopt;
}

// Sums of `size` inputs, times its inverse.
TileProgram mean_of(int64_t size, DType from, DType to) {
  TileProgram program;
  program.input_count = static_cast<uint8_t>(size);
  uint8_t sum = 0;
  for (uint8_t i = 0; i < program.input_count; ++i) {
    program.inputs[i] = {from, TileBroadcast::full};
    if (i == 0) continue;
    program.instructions[program.instruction_count++] = {.op = TileOp::add, .dst = program.input_count, .a = sum, .b = i};
    sum = program.input_count;
  }
  program.instructions[program.instruction_count++] = {
      .op = TileOp::affine, .dst = program.input_count, .a = sum, .p = 1.f / static_cast<float>(size), .q = 0};
  program.output_count = 1;
  program.outputs[0] = {to, program.input_count};
  return program;
}

std::unique_ptr<BoundKernel> bind_avg_pool(const KernelCall& call, const Buffers& buffers) {
  const Axis axis(call);
  const int64_t size = call.attrs->integer("size");
  const auto bytes = static_cast<size_t>(axis.inner) * dtype_size(call.out.dtype);
  return bound([=, program = mean_of(size, call.in[0]->dtype, call.out.dtype), from = static_cast<const char*>(buffers.in[0]),
                to = static_cast<char*>(buffers.out)] {
    const auto read = [&](int64_t outer, int64_t entry) { return from + static_cast<size_t>(outer * axis.entries + entry) * bytes; };
    for (int64_t outer = 0; outer < axis.outer; ++outer) {
      char* written = to + static_cast<size_t>(outer * axis.out_entries) * bytes;
      std::memcpy(written, read(outer, 0), static_cast<size_t>(axis.keep) * bytes);
      for (int64_t entry = axis.keep; entry < axis.out_entries; ++entry) {
        TileArguments arguments{.rows = 1, .channels = axis.inner};
        for (int64_t i = 0; i < size; ++i) {
          arguments.inputs[i] = read(outer, axis.keep + (entry - axis.keep) * size + i);
          arguments.input_strides[i] = axis.inner;
        }
        arguments.outputs[0] = written + static_cast<size_t>(entry) * bytes;
        arguments.output_strides[0] = axis.inner;
        tile_run(program, arguments);
      }
    }
  });
}

}  // namespace

std::span<const KernelEntry> axis_entries() {
  static const std::vector<KernelEntry> list{
      {.name = "repeat_interleave", .op = Op::repeat_interleave, .ask = accept<bind_repeat_interleave>},
      {.name = "avg_pool", .op = Op::avg_pool, .ask = accept<bind_avg_pool, refuse_avg_pool>},
  };
  return list;
}

}  // namespace vivace::cpu
