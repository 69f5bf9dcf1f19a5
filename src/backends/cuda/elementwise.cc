// Elementwise ops, single or fused, as printed tile programs (codegen/cuda_source.h); those with other broadcasts or dtypes by a plain kernel.
#include <algorithm>

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/movement.h"
#include "backends/tile_layout.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr unsigned kTileThreads = 256;
constexpr int64_t kMostBlocks = 4096;  // threads go on to other vectors

}  // namespace

std::unique_ptr<BoundKernel> bind_tile(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const TileLayout layout = tile_layout(call);
  TileKernel kernel{.program = TileText(tile_instructions(call)), .inputs = {}, .output = call.out.dtype};
  for (const TileLayout::Input& input : layout.inputs) kernel.inputs.push_back(input.type);
  DriverFunction* function = driver.load(kernel);
  auto all = std::make_unique<Launches>(driver);
  const int64_t vectors = layout.rows * ((layout.channels + 7) / 8);
  const unsigned grid[3] = {static_cast<unsigned>(std::min((vectors + kTileThreads - 1) / kTileThreads, kMostBlocks)), 1, 1};
  for (int64_t r = 0; r < layout.repeats; ++r) {
    std::vector<int64_t> arguments;  // pointers and integers, of eight bytes each
    for (size_t i = 0; i < layout.inputs.size(); ++i) {
      arguments.push_back(reinterpret_cast<int64_t>(buffers.in[i]) + r * layout.inputs[i].step);
      arguments.push_back(layout.inputs[i].stride);
    }
    arguments.push_back(reinterpret_cast<int64_t>(buffers.out) + r * layout.output_step);
    arguments.insert(arguments.end(), {call.out.row_pitch(), layout.rows, layout.channels, std::max<int64_t>(1, layout.rows_per_image)});
    all->add(function, grid, kTileThreads, 0, arguments.data(), arguments.size() * sizeof(int64_t));
  }
  return all;
}

namespace {

// Any broadcast, and integers: an element at a time.
std::unique_ptr<BoundKernel> bind_any(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  ElementwiseCall e{.op = elementwise(call.op), .out = buffers.out, .shape = call.out.shape, .dtype = call.out.dtype};
  for (size_t i = 0; i < call.in.size(); ++i) {
    e.in[i] = buffers.in[i];
    e.in_shapes[i] = call.in[i]->shape;
    e.in_dtypes[i] = call.in[i]->dtype;
  }
  const bool clamp = call.op == Op::clamp;
  e.a = static_cast<float>(clamp ? call.attrs->real("min") : call.attrs->real("scale", 1));
  e.b = static_cast<float>(clamp ? call.attrs->real("max") : call.attrs->real("shift"));
  return launches(driver, make_elementwise(e));
}

Refusal refuse_any(const KernelCall& call) {
  const auto known = [](DType dtype) { return is_activation_dtype(dtype) || dtype == DType::int32; };
  if (!known(call.out.dtype)) return cat("the result is ", dtype_name(call.out.dtype));
  if (call.out.shape.size() > kMostDims) return cat("more than ", kMostDims, " dimensions");
  for (const auto& in : call.in)
    if (!known(in->dtype)) return cat("an input is ", dtype_name(in->dtype));
  return std::nullopt;
}

}  // namespace

void add_elementwise(Driver& driver, Entries& list) {
  for (int i = 0; i < op_count(); ++i) {
    const auto op = static_cast<Op>(i);
    if (!is_elementwise(op) && op != Op::tile) continue;
    list.push_back(entry(driver, {.name = op_name(op), .op = op, .bind = bind_tile, .refuse = refuse_tile, .strided = true, .in_place = true}));
    if (op == Op::tile) continue;
    KernelEntry any = entry(driver, {.name = op_name(op), .op = op, .bind = bind_any, .refuse = refuse_any});
    any.name += "_any";
    list.push_back(std::move(any));
  }
}

}  // namespace vivace::cuda
