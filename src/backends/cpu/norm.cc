// group_norm, spatial_norm, layer_norm, rms_norm, rotary, hadamard, softmax, and the quantisation of rows.
#include "backends/cpu/kernels/norm/norm.h"

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/norm/softmax.h"
#include "backends/cpu/kernels/norm/split.h"
#include "base/log.h"
#include "ops/positions.h"

namespace vivace::cpu {
namespace {

Refusal refuse_norm(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  for (size_t i : {1, 2})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "weight and bias must be float32";
  const int64_t heads = call.attrs->integer("heads", 1);
  const bool by_head = heads > 1 || (call.op == Op::rms_norm && call.has(2));
  if (by_head && call.in[0]->columns() / heads > kLongestHead) return cat("a head has more than ", kLongestHead, " features");
  const std::string& act = call.attrs->text("act");
  if (!act.empty() && act != "silu") return "only silu can follow in the same trip";
  return std::nullopt;
}

Refusal refuse_spatial_norm(const KernelCall& call) {
  if (Refusal reason = refuse_norm(call)) return reason;
  if (Refusal reason = refuse_unless_activations(call, {3})) return reason;
  for (size_t i : {4, 5, 6, 7})
    if (call.in[i]->dtype != DType::float32) return "what scales and shifts must be float32";
  if (call.attrs->integer("groups") > kSpatialGroups) return cat("more than ", kSpatialGroups, " groups");
  if (call.in[3]->columns() > kSpatialInputs) return cat("more than ", kSpatialInputs, " channels of z");
  return std::nullopt;
}

Refusal refuse_rotary(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  if (call.in[1]->dtype != DType::float32) return "the table must be float32";
  return std::nullopt;
}

Refusal refuse_hadamard(const KernelCall& call) {
  if (call.in[0]->dtype != DType::float32) return "turns float32 alone";
  return std::nullopt;
}

Refusal refuse_quantize(const KernelCall& call) {
  if (!is_activation_dtype(call.in[0]->dtype)) return "the input is not a float activation";
  return std::nullopt;
}

Refusal refuse_softmax(const KernelCall& call) { return refuse_unless_activations(call, {0}); }

GroupNorm group_norm_of(const KernelCall& call, const Buffers& buffers) {
  const Shape& x = call.in[0]->shape;
  return {.x = row_input(*call.in[0], buffers.in[0]),
          .images = x[0],
          .pixels = call.in[0]->rows() / x[0],
          .channels = x.back(),
          .groups = call.attrs->integer("groups"),
          .gamma = static_cast<const float*>(buffers.in[1]),
          .beta = static_cast<const float*>(buffers.in[2]),
          .eps = static_cast<float>(call.attrs->real("eps"))};
}

std::unique_ptr<BoundKernel> bind_group_norm(const KernelCall& call, const Buffers& buffers) {
  return bound([norm = group_norm_of(call, buffers), act = act_of(call.attrs->text("act")), y = row_output(call.out, buffers.out)](Stream& stream) {
    group_norm(norm, act, y, &stream.stop);
  });
}

std::unique_ptr<BoundKernel> bind_spatial_norm(const KernelCall& call, const Buffers& buffers) {
  const Shape &x = call.in[0]->shape, &z = call.in[3]->shape;
  const auto floats = [&](size_t i) { return static_cast<const float*>(buffers.in[i]); };
  const SpatialModulation modulation{.z = row_input(*call.in[3], buffers.in[3]),
                                     .frames = z[1],
                                     .height = z[2],
                                     .width = z[3],
                                     .inputs = z[4],
                                     .apart = first_apart(x[1]),
                                     .out_frames = x[1],
                                     .out_height = x[2],
                                     .out_width = x[3],
                                     .scale = floats(4),
                                     .scale_bias = floats(5),
                                     .shift = floats(6),
                                     .shift_bias = floats(7)};
  return bound([norm = group_norm_of(call, buffers), modulation, act = act_of(call.attrs->text("act")),
                y = row_output(call.out, buffers.out)](Stream& stream) { spatial_norm(norm, modulation, act, y, &stream.stop); });
}

RowNorm row_norm_of(const KernelCall& call, const Buffers& buffers) {
  const int64_t heads = call.attrs->integer("heads", 1);
  return {.x = row_input(*call.in[0], buffers.in[0]),
          .rows = call.in[0]->rows(),
          .channels = call.in[0]->columns() / heads,
          .gamma = call.has(1) ? static_cast<const float*>(buffers.in[1]) : nullptr,
          .eps = static_cast<float>(call.attrs->real("eps")),
          .heads = heads};
}

Rotation rotation_of(const KernelCall& call, size_t table, const Buffers& buffers) {
  return {static_cast<const float*>(buffers.in[table]), call.in[table]->shape[0]};
}

std::unique_ptr<BoundKernel> bind_layer_norm(const KernelCall& call, const Buffers& buffers) {
  RowNorm norm = row_norm_of(call, buffers);
  if (call.has(2)) norm.beta = static_cast<const float*>(buffers.in[2]);
  // What each image has of its own, or all share.
  const auto stride = [&](size_t i) {
    if (!call.has(i) || call.in[i]->shape.size() != 3) return int64_t{0};
    norm.rows_per_image = call.in[0]->shape[1];
    return call.in[i]->shape[0] == 1 ? int64_t{0} : call.in[i]->row_pitch();
  };
  norm.gamma_stride = stride(1), norm.beta_stride = stride(2);
  return bound([norm, y = rows_output(call, buffers.out), bad = buffers.bad_value](Stream& stream) {
    if (layer_norm(norm, y, &stream.stop) != kNoBadRow) bad.report();
  });
}

std::unique_ptr<BoundKernel> bind_rms_norm(const KernelCall& call, const Buffers& buffers) {
  RowNorm norm = row_norm_of(call, buffers);
  if (call.has(2)) norm.rotation = rotation_of(call, 2, buffers);
  return bound([norm, y = rows_output(call, buffers.out), bad = buffers.bad_value](Stream& stream) {
    if (rms_norm(norm, y, &stream.stop) != kNoBadRow) bad.report();
  });
}

std::unique_ptr<BoundKernel> bind_rotary(const KernelCall& call, const Buffers& buffers) {
  const int64_t heads = call.attrs->integer("heads", 1);
  return bound([=, x = row_input(*call.in[0], buffers.in[0]), rows = call.in[0]->rows(), channels = call.in[0]->columns() / heads,
                rotation = rotation_of(call, 1, buffers),
                y = row_output(call.out, buffers.out)](Stream& stream) { rotate(x, rows, heads, channels, rotation, y, &stream.stop); });
}

std::unique_ptr<BoundKernel> bind_quantize_rows(const KernelCall& call, const Buffers& buffers) {
  return bound([x = row_input(*call.in[0], buffers.in[0]), rows = call.in[0]->rows(), columns = call.in[0]->columns(),
                y = rows_output(call, buffers.out), bad = buffers.bad_value](Stream& stream) {
    if (quantize_rows(x, rows, columns, y, &stream.stop) != kNoBadRow) bad.report();
  });
}

std::unique_ptr<BoundKernel> bind_hadamard(const KernelCall& call, const Buffers& buffers) {
  return bound([block = call.attrs->integer("block"), rows = call.in[0]->rows(), columns = call.in[0]->columns(),
                x = static_cast<const float*>(buffers.in[0]), y = static_cast<float*>(buffers.out)](Stream& stream) {
    share_rows(rows, columns, &stream.stop,
               [&](int64_t begin, int64_t end) { hadamard_blocks(x + begin * columns, (end - begin) * columns, block, y + begin * columns); });
  });
}

std::unique_ptr<BoundKernel> bind_softmax(const KernelCall& call, const Buffers& buffers) {
  return bound([x = row_input(*call.in[0], buffers.in[0]), rows = call.in[0]->rows(), columns = call.in[0]->columns(),
                y = row_output(call.out, buffers.out)](Stream& stream) { softmax_rows(x, rows, columns, 1.f, y, &stream.stop); });
}

}  // namespace

std::span<const KernelEntry> norm_entries() {
  static const std::vector<KernelEntry> list{
      {.name = "group_norm", .op = Op::group_norm, .ask = accept<bind_group_norm, refuse_norm>, .strided_in = true, .strided_out = true},
      {.name = "spatial_norm",
       .op = Op::spatial_norm,
       .ask = accept<bind_spatial_norm, refuse_spatial_norm>,
       .strided_in = true,
       .strided_out = true},
      {.name = "layer_norm", .op = Op::layer_norm, .ask = accept<bind_layer_norm, refuse_norm>, .strided_in = true, .strided_out = true},
      {.name = "rms_norm", .op = Op::rms_norm, .ask = accept<bind_rms_norm, refuse_norm>, .strided_in = true, .strided_out = true},
      {.name = "rotary", .op = Op::rotary, .ask = accept<bind_rotary, refuse_rotary>, .strided_in = true, .strided_out = true, .in_place = true},
      {.name = "quantize_rows", .op = Op::quantize_rows, .ask = accept<bind_quantize_rows, refuse_quantize>, .strided_in = true},
      {.name = "hadamard", .op = Op::hadamard, .ask = accept<bind_hadamard, refuse_hadamard>},
      {.name = "softmax", .op = Op::softmax, .ask = accept<bind_softmax, refuse_softmax>, .strided_in = true, .strided_out = true},
  };
  return list;
}

}  // namespace vivace::cpu
