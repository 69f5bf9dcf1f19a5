// Moving data, look-ups, tables and reductions (kernels/movement.h).
#include "backends/cuda/kernels/movement.h"

#include <algorithm>
#include <span>

#include "backends/cuda/entries.h"
#include "base/log.h"
#include "ops/positions.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

size_t axis_of(const KernelCall& call, const Shape& shape) {
  const auto rank = static_cast<int64_t>(shape.size());
  return static_cast<size_t>((call.attrs->integer("axis") + rank) % rank);
}

void* at(void* data, int64_t elements, DType dtype) { return static_cast<char*>(data) + elements * static_cast<int64_t>(dtype_size(dtype)); }

// The same bytes under another shape.
std::unique_ptr<BoundKernel> bind_reshape(Driver&, const KernelCall& call, const Buffers& buffers) {
  return bound([from = buffers.in[0], to = buffers.out,
                bytes = static_cast<size_t>(numel(call.out.shape)) * dtype_size(call.out.dtype)](Stream& stream) { stream.copy(to, from, bytes); });
}

// A part of a tensor in the place of a part of another of the same rank.
std::unique_ptr<BoundKernel> bind_slice(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape& x = call.in[0]->shape;
  const size_t axis = axis_of(call, x);
  const Shape strides = dense_strides(x);
  const int64_t begin = slice_begin(*call.attrs, x, call.out.shape, axis);
  return launches(driver, make_copy({.in = at(buffers.in[0], begin * strides[axis], call.out.dtype),
                                     .out = buffers.out,
                                     .sizes = call.out.shape,
                                     .in_strides = strides,
                                     .out_strides = dense_strides(call.out.shape),
                                     .bytes = dtype_size(call.out.dtype)}));
}

std::unique_ptr<BoundKernel> bind_concat(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const size_t axis = axis_of(call, call.out.shape);
  const Shape strides = dense_strides(call.out.shape);
  auto all = std::make_unique<Launches>(driver);
  int64_t begin = 0;
  for (size_t i = 0; i < call.in.size(); ++i) {
    const Shape& part = call.in[i]->shape;
    void* to = at(buffers.out, begin * strides[axis], call.out.dtype);
    // A part that its producer has written in its place needs no copy (join_concats).
    if (to != buffers.in[i])
      all->add(make_copy({.in = buffers.in[i],
                          .out = to,
                          .sizes = part,
                          .in_strides = dense_strides(part),
                          .out_strides = strides,
                          .bytes = dtype_size(call.out.dtype)}));
    begin += part[axis];
  }
  return all;
}

// A whole tensor, read with strides of its own.
std::unique_ptr<BoundKernel> copy_of(Driver& driver, const KernelCall& call, const Buffers& buffers, const Shape& sizes, const Shape& in_strides,
                                     const Shape& out_strides, int64_t begin = 0) {
  return launches(driver, make_copy({.in = at(buffers.in[0], begin, call.out.dtype),
                                     .out = buffers.out,
                                     .sizes = sizes,
                                     .in_strides = in_strides,
                                     .out_strides = out_strides,
                                     .bytes = dtype_size(call.out.dtype)}));
}

std::unique_ptr<BoundKernel> bind_transpose(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape strides = dense_strides(call.in[0]->shape);
  Shape moved;
  for (const int64_t axis : call.attrs->integers("perm")) moved.push_back(strides[static_cast<size_t>(axis)]);
  return copy_of(driver, call, buffers, call.out.shape, moved, dense_strides(call.out.shape));
}

std::unique_ptr<BoundKernel> bind_expand_rows(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return copy_of(driver, call, buffers, call.out.shape, repeated_strides(call.in[0]->shape, call.out.shape), dense_strides(call.out.shape));
}

// [block a block b block a ..] along the first axis.
std::unique_ptr<BoundKernel> bind_interleave(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const int64_t rows = call.in[0]->shape[0], run = call.attrs->integer("block", 1) * numel(call.in[0]->shape) / std::max<int64_t>(1, rows),
                blocks = numel(call.in[0]->shape) / std::max<int64_t>(1, run);
  auto all = std::make_unique<Launches>(driver);
  for (int64_t i = 0; i < 2; ++i)
    all->add(make_copy({.in = buffers.in[static_cast<size_t>(i)],
                        .out = at(buffers.out, i * run, call.out.dtype),
                        .sizes = {blocks, run},
                        .in_strides = {run, 1},
                        .out_strides = {2 * run, 1},
                        .bytes = dtype_size(call.out.dtype)}));
  return all;
}

std::unique_ptr<BoundKernel> bind_center_crop(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape &table = call.in[0]->shape, &like = call.in[1]->shape;
  const int64_t side = square_side(table[0]), channels = table[1], first = (side / 2 - like[1] / 2) * side + side / 2 - like[2] / 2;
  return copy_of(driver, call, buffers, {like[1], like[2] * channels}, {side * channels, 1}, {like[2] * channels, 1}, first * channels);
}

std::unique_ptr<BoundKernel> bind_depth_to_space(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape &x = call.in[0]->shape, &y = call.out.shape;
  const int64_t block = call.attrs->integer("block"), run = block * y[3];
  // Of each line of pixels, row d of the blocks is a line of the result.
  return copy_of(driver, call, buffers, {x[0] * x[1], block, x[2], run}, {x[2] * x[3], run, x[3], 1}, {block * x[2] * run, x[2] * run, run, 1});
}

std::unique_ptr<BoundKernel> bind_upsample(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  // [.., height, width, channels]: frames of videos are images too.
  const auto x = std::span(call.in[0]->shape).last(3), y = std::span(call.out.shape).last(3);
  return launches(driver, make_upsample({.in = buffers.in[0],
                                         .out = buffers.out,
                                         .images = call.out.rows() / (y[0] * y[1]),
                                         .height = x[0],
                                         .width = x[1],
                                         .out_height = y[0],
                                         .out_width = y[1],
                                         .pixel_bytes = x[2] * static_cast<int64_t>(dtype_size(call.out.dtype))}));
}

std::unique_ptr<BoundKernel> gather(Driver& driver, const Buffers& buffers, size_t table, size_t ids, int64_t rows, int64_t entries, int64_t base,
                                    int64_t row_bytes) {
  return launches(driver, make_gather({.table = buffers.in[table],
                                       .ids = static_cast<const int*>(buffers.in[ids]),
                                       .out = buffers.out,
                                       .rows = rows,
                                       .entries = entries,
                                       .base = base,
                                       .row_bytes = row_bytes}));
}

std::unique_ptr<BoundKernel> bind_embedding(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape& table = call.in[1]->shape;
  return gather(driver, buffers, 1, 0, numel(call.in[0]->shape), table[0], 0, table[1] * static_cast<int64_t>(dtype_size(call.out.dtype)));
}
Refusal refuse_embedding(const KernelCall& call) {
  if (call.in[1]->dtype != call.out.dtype) return "the table has another dtype than the result";
  return std::nullopt;
}

std::unique_ptr<BoundKernel> bind_gather_rows(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Shape& x = call.in[0]->shape;
  return gather(driver, buffers, 0, 1, x[0], x[1], x[1], x[2] * static_cast<int64_t>(dtype_size(call.out.dtype)));
}

std::unique_ptr<BoundKernel> bind_select_row(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return gather(driver, buffers, 0, 1, 1, call.in[0]->shape[0], 0, numel(call.out.shape) * static_cast<int64_t>(dtype_size(call.out.dtype)));
}

std::unique_ptr<BoundKernel> find(Driver& driver, const KernelCall& call, const Buffers& buffers, bool largest) {
  return launches(driver, make_find({.ids = static_cast<const int*>(buffers.in[0]),
                                     .out = static_cast<int*>(buffers.out),
                                     .rows = static_cast<int>(call.in[0]->shape[0]),
                                     .columns = static_cast<int>(call.in[0]->shape[1]),
                                     .value = static_cast<int>(call.attrs->integer("value")),
                                     .largest = largest}));
}
std::unique_ptr<BoundKernel> bind_argmax(Driver& driver, const KernelCall& call, const Buffers& buffers) { return find(driver, call, buffers, true); }
std::unique_ptr<BoundKernel> bind_first_equal(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return find(driver, call, buffers, false);
}

std::unique_ptr<BoundKernel> bind_reduce(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  std::vector<int64_t> axes = call.attrs->integers("axes");
  for (int64_t& axis : axes)
    if (axis < 0) axis += static_cast<int64_t>(call.in[0]->shape.size());
  return launches(driver, make_reduce(call.op, call.in[0]->shape, axes, buffers.in[0], call.in[0]->dtype, buffers.out, call.out.dtype));
}
Refusal refuse_reduce(const KernelCall& call) { return refuse_unless_activations(call, {0}); }

std::unique_ptr<BoundKernel> bind_table(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  TableArguments a{.in = buffers.in.empty() ? nullptr : buffers.in[0],
                   .out = buffers.out,
                   .count = numel(call.out.shape),
                   .columns = static_cast<int>(call.out.columns())};
  switch (call.op) {
    case Op::fill:
      a.value = call.attrs->real("value");
      return launches(driver, make_table(kFill, a, call.out.dtype));
    case Op::causal_mask:
      return launches(driver, make_table(kCausalMask, a, call.out.dtype));
    case Op::sinusoid:
      a.flip = call.attrs->integer("flip_sin_to_cos") != 0;
      a.value = call.attrs->real("downscale_freq_shift");
      a.scale = static_cast<float>(call.attrs->real("scale", 1));
      return launches(driver, make_table(kSinusoid, a, call.out.dtype));
    case Op::rotary_table: {
      const auto& dims = call.attrs->integers("dims");
      a.axes = static_cast<int>(dims.size());
      std::ranges::transform(dims, a.dims, [](int64_t n) { return static_cast<int>(n); });
      a.value = call.attrs->real("theta");
      return launches(driver, make_table(kRotaryTable, a, call.out.dtype));
    }
    case Op::relative_position_bias:
      a.heads = static_cast<int>(call.out.shape[1]);
      a.buckets = static_cast<int>(call.in[0]->shape[0]);
      a.max_distance = static_cast<int>(call.attrs->integer("max_distance"));
      return launches(driver, make_table(kRelativePositionBias, a, call.in[0]->dtype));
    default:
      throw InternalError(cat("no table is made for ", op_name(call.op)));
  }
}

Refusal refuse_fill(const KernelCall& call) {
  if (!is_activation_dtype(call.out.dtype) && call.out.dtype != DType::int32) return cat("the result is ", dtype_name(call.out.dtype));
  return std::nullopt;
}
Refusal refuse_rotary_table(const KernelCall& call) {
  constexpr size_t kMostAxes = std::size(TableArguments{}.dims);
  if (call.attrs->integers("dims").size() > kMostAxes) return cat("more than ", kMostAxes, " axes");
  return std::nullopt;
}

// What refuse_copy would say is asked with the shapes alone.
Refusal refuse_transpose(const KernelCall& call) {
  const Shape strides = dense_strides(call.in[0]->shape);
  StridedCopy copy{.sizes = call.out.shape, .in_strides = {}, .out_strides = dense_strides(call.out.shape), .bytes = dtype_size(call.out.dtype)};
  for (const int64_t axis : call.attrs->integers("perm")) copy.in_strides.push_back(strides[static_cast<size_t>(axis)]);
  if (std::string reason = refuse_copy(copy); !reason.empty()) return reason;
  return std::nullopt;
}

}  // namespace

void add_movement(Driver& driver, Entries& list) {
  const Row rows[] = {
      {.name = "reshape", .op = Op::reshape, .bind = bind_reshape},
      {.name = "flatten_hw", .op = Op::flatten_hw, .bind = bind_reshape},
      {.name = "unflatten_hw", .op = Op::unflatten_hw, .bind = bind_reshape},
      {.name = "slice", .op = Op::slice, .bind = bind_slice},
      {.name = "concat", .op = Op::concat, .bind = bind_concat},
      {.name = "transpose", .op = Op::transpose, .bind = bind_transpose, .refuse = refuse_transpose},
      {.name = "expand_rows", .op = Op::expand_rows, .bind = bind_expand_rows},
      {.name = "interleave", .op = Op::interleave, .bind = bind_interleave},
      {.name = "center_crop", .op = Op::center_crop, .bind = bind_center_crop},
      {.name = "depth_to_space", .op = Op::depth_to_space, .bind = bind_depth_to_space},
      {.name = "upsample_nearest", .op = Op::upsample_nearest, .bind = bind_upsample},
      {.name = "embedding", .op = Op::embedding, .bind = bind_embedding, .refuse = refuse_embedding},
      {.name = "gather_rows", .op = Op::gather_rows, .bind = bind_gather_rows},
      {.name = "select_row", .op = Op::select_row, .bind = bind_select_row},
      {.name = "argmax", .op = Op::argmax, .bind = bind_argmax},
      {.name = "first_equal", .op = Op::first_equal, .bind = bind_first_equal},
      {.name = "reduce_mean", .op = Op::reduce_mean, .bind = bind_reduce, .refuse = refuse_reduce},
      {.name = "reduce_max", .op = Op::reduce_max, .bind = bind_reduce, .refuse = refuse_reduce},
      {.name = "reduce_sum", .op = Op::reduce_sum, .bind = bind_reduce, .refuse = refuse_reduce},
      {.name = "fill", .op = Op::fill, .bind = bind_table, .refuse = refuse_fill},
      {.name = "causal_mask", .op = Op::causal_mask, .bind = bind_table},
      {.name = "sinusoid", .op = Op::sinusoid, .bind = bind_table},
      {.name = "rotary_table", .op = Op::rotary_table, .bind = bind_table, .refuse = refuse_rotary_table},
      {.name = "relative_position_bias", .op = Op::relative_position_bias, .bind = bind_table},
  };
  for (const Row& row : rows) list.push_back(entry(driver, row));
}

}  // namespace vivace::cuda
