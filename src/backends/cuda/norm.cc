// group_norm, layer_norm, rms_norm, rotary, softmax, geglu, and the quantisation of rows.
#include "backends/cuda/kernels/norm.h"

#include "backends/cuda/entries.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr int64_t kMostColumns = 24000;  // a row as float in shared memory

Refusal refuse_norm(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  for (size_t i : {1, 2})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "weight and bias must be float32";
  const std::string& act = call.attrs->text("act");
  if (!act.empty() && act != "silu") return "only silu can follow in the same trip";
  return std::nullopt;
}

Refusal refuse_row_norm(const KernelCall& call) {
  if (Refusal reason = refuse_norm(call)) return reason;
  if (call.in[0]->columns() / call.attrs->integer("heads", 1) > kMostColumns) return cat("more than ", kMostColumns, " columns");
  return std::nullopt;
}

Refusal refuse_rows(const KernelCall& call) {
  if (!is_activation_dtype(call.in[0]->dtype)) return "the input is not a float activation";
  if (call.in[0]->columns() > kMostColumns) return cat("more than ", kMostColumns, " columns");
  return std::nullopt;
}

Refusal refuse_rotary(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  if (call.in[1]->dtype != DType::float32) return "the table must be float32";
  return std::nullopt;
}

Refusal refuse_softmax(const KernelCall& call) { return refuse_unless_activations(call, {0}); }

RowNormArguments row_arguments(const KernelCall& call, const Buffers& buffers, RowFunction function) {
  const int64_t heads = call.attrs->integer("heads", 1);
  return {.x = buffers.in[0],
          .y = buffers.out,
          .scales = scales_of(call.out, buffers.out),
          .bad_value = buffers.bad_value.first,
          .rows = call.in[0]->rows(),
          .x_pitch = call.in[0]->row_pitch(),
          .y_pitch = row_pitch(call.out),
          .tokens = call.in[0]->rows(),
          .columns = static_cast<int>(call.in[0]->columns() / heads / (function == kGeglu ? 2 : 1)),
          .heads = static_cast<int>(heads),
          .function = function,
          .step = buffers.bad_value.step,
          .hadamard = static_cast<int>(call.attrs->integer("hadamard")),
          .eps = static_cast<float>(call.attrs->real("eps"))};
}

std::unique_ptr<BoundKernel> bind_rows(Driver& driver, const KernelCall& call, const RowNormArguments& arguments) {
  return launches(driver, make_row_norm(arguments, call.in[0]->dtype, DType::float32, call.out.dtype));
}

std::unique_ptr<BoundKernel> bind_layer_norm(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  RowNormArguments a = row_arguments(call, buffers, kLayerNorm);
  // What each image has of its own, or all share.
  const auto pitch = [&](size_t i) -> long long {
    if (!call.has(i) || call.in[i]->shape.size() != 3) return 0;
    a.tokens = call.in[0]->shape[1];
    return call.in[i]->shape[0] == 1 ? 0 : call.in[i]->row_pitch();
  };
  a.weight = call.has(1) ? buffers.in[1] : nullptr;
  a.bias = call.has(2) ? buffers.in[2] : nullptr;
  a.weight_pitch = pitch(1), a.bias_pitch = pitch(2);
  return bind_rows(driver, call, a);
}

std::unique_ptr<BoundKernel> bind_rms_norm(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  RowNormArguments a = row_arguments(call, buffers, kRmsNorm);
  a.weight = buffers.in[1];
  if (call.has(2)) {
    a.table = static_cast<const float*>(buffers.in[2]);
    a.tokens = call.in[2]->shape[0];
  }
  return bind_rows(driver, call, a);
}

std::unique_ptr<BoundKernel> bind_geglu(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return bind_rows(driver, call, row_arguments(call, buffers, kGeglu));
}

std::unique_ptr<BoundKernel> bind_quantize_rows(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return bind_rows(driver, call, row_arguments(call, buffers, kCopyRow));
}

std::unique_ptr<BoundKernel> bind_group_norm(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Operand& x = *call.in[0];
  const int64_t images = x.shape[0];
  const auto calls = make_group_norm({.x = buffers.in[0],
                                      .weight = buffers.in[1],
                                      .bias = buffers.in[2],
                                      .y = buffers.out,
                                      .partial = static_cast<float*>(buffers.workspace),
                                      .pixels = x.rows() / images,
                                      .channels = static_cast<int>(x.columns()),
                                      .groups = static_cast<int>(call.attrs->integer("groups")),
                                      .act = activation_of(call.attrs->text("act")),
                                      .eps = static_cast<float>(call.attrs->real("eps"))},
                                     images, x.dtype, DType::float32);
  return launches(driver, calls[0], calls[1]);
}

size_t group_norm_bytes(const KernelCall& call) {
  const int64_t images = call.in[0]->shape[0];
  return group_norm_workspace(images, call.in[0]->rows() / images, static_cast<int>(call.attrs->integer("groups")));
}

std::unique_ptr<BoundKernel> bind_rotary(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const int64_t heads = call.attrs->integer("heads", 1);
  return launches(driver, make_rotary({.x = buffers.in[0],
                                       .table = static_cast<const float*>(buffers.in[1]),
                                       .y = buffers.out,
                                       .rows = call.in[0]->rows(),
                                       .x_pitch = call.in[0]->row_pitch(),
                                       .y_pitch = call.out.row_pitch(),
                                       .tokens = call.in[1]->shape[0],
                                       .columns = static_cast<int>(call.in[0]->columns() / heads),
                                       .heads = static_cast<int>(heads)},
                                      call.in[0]->dtype));
}

std::unique_ptr<BoundKernel> bind_softmax(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  return launches(driver, make_softmax({.x = buffers.in[0],
                                        .y = buffers.out,
                                        .rows = call.in[0]->rows(),
                                        .columns = call.in[0]->columns(),
                                        .x_pitch = call.in[0]->row_pitch(),
                                        .y_pitch = call.out.row_pitch()},
                                       call.in[0]->dtype, call.out.dtype));
}

}  // namespace

void add_norms(Driver& driver, Entries& list) {
  const Row rows[] = {
      {.name = "group_norm", .op = Op::group_norm, .bind = bind_group_norm, .refuse = refuse_norm, .workspace = group_norm_bytes},
      {.name = "layer_norm", .op = Op::layer_norm, .bind = bind_layer_norm, .refuse = refuse_row_norm, .strided = true},
      {.name = "rms_norm", .op = Op::rms_norm, .bind = bind_rms_norm, .refuse = refuse_row_norm, .strided = true},
      {.name = "geglu", .op = Op::geglu, .bind = bind_geglu, .refuse = refuse_rows, .strided = true},
      {.name = "rotary", .op = Op::rotary, .bind = bind_rotary, .refuse = refuse_rotary, .strided = true, .in_place = true},
      {.name = "quantize_rows", .op = Op::quantize_rows, .bind = bind_quantize_rows, .refuse = refuse_rows, .strided = true},
      {.name = "softmax", .op = Op::softmax, .bind = bind_softmax, .refuse = refuse_softmax, .strided = true},
  };
  for (const Row& row : rows) list.push_back(entry(driver, row));
}

}  // namespace vivace::cuda
