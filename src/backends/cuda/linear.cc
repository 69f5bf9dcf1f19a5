// linear, geglu_linear and matmul on own GEMMs (kernels/gemm.h).
#include "backends/cuda/linear.h"

#include <algorithm>

#include "backends/cuda/packing.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

// Of a geglu_linear, whose gate has a gelu where nothing else is said.
Activation act_of(const KernelCall& call) {
  const Activation act = activation_of(call.attrs->text("act"));
  return call.op == Op::geglu_linear && act == kIdentity ? kGelu : act;
}

}  // namespace

GemmArguments linear_arguments(const KernelCall& call) {
  const Operand &x = *call.in[0], &w = *call.in[1];
  return {.rows = x.rows(),
          .rows_per_image = call.has(kGate) ? x.rows() / call.in[kGate]->shape[0] : x.rows(),
          .x_pitch = row_pitch(x),
          .w_pitch = w.columns(),
          .w_step = 1,
          .y_pitch = call.out.row_pitch(),
          .residual_pitch = call.has(kResidual) ? call.in[kResidual]->row_pitch() : 0,
          .gate_pitch = call.has(kGate) ? call.in[kGate]->row_pitch() : 0,
          .columns = static_cast<int>(w.shape[0]),
          .k = static_cast<int>(w.columns()),
          .act = act_of(call)};
}

GemmArguments with_buffers(GemmArguments a, const Buffers& buffers) {
  const auto in = [&](size_t i) -> const void* { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
  a.x = in(0), a.w = in(kWeight), a.y = buffers.out;
  a.bias = in(kBias), a.residual = in(kResidual), a.gate = in(kGate);
  return a;
}

Refusal refuse_epilogue(const KernelCall& call) {
  if (call.has(kBias) && call.in[kBias]->dtype != DType::float32) return "the bias is not float32";
  if (call.has(kResidual) && call.in[kResidual]->dtype != call.out.dtype) return "the residual has another dtype";
  if (call.has(kGate) && call.in[kGate]->dtype != DType::float32) return "the gate is not float32";
  return std::nullopt;
}

namespace {

class GemmOffer final : public Offer {
 public:
  GemmOffer(Driver& driver, const KernelCall& call, const GemmTypes& types)
      : driver_(driver), arguments_(linear_arguments(call)), types_(types), weight_(*call.in[kWeight]) {
    if (weight_.dtype == types.x && !types.geglu) return;  // as it is stored
    packed = {.input = static_cast<int>(kWeight),
              .bytes = static_cast<size_t>(numel(weight_.shape)) * dtype_size(types.x),
              .key = cat("rows(", dtype_name(types.x), types.geglu ? " geglu" : "", ')')};
  }

  void pack(const void* source, const void*, void* to, Stream& stream) const override {
    repack(driver_, linear_weight(weight_.shape, types_.geglu, weight_.dtype, types_.x), source, to)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    return launches(driver_, make_gemm(with_buffers(arguments_, buffers), types_));
  }

 private:
  Driver& driver_;
  const GemmArguments arguments_;
  const GemmTypes types_;
  const Operand weight_;
};

Answer ask_linear(Driver& driver, const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, kResidual})) return *reason;
  const Operand& w = *call.in[kWeight];
  if (call.attrs->has("compute") || call.attrs->has("weight_storage") || call.has(kScale)) return "the weight is kept in 8 bits";
  if (!is_floating(w.dtype)) return "the weight is not floating point";
  if (Refusal reason = refuse_epilogue(call)) return *reason;
  const GemmTypes types{.x = call.in[0]->dtype, .y = call.out.dtype, .bias = DType::float32, .geglu = call.op == Op::geglu_linear};
  if ((w.dtype != types.x || types.geglu) && !w.constant) return "the weight is not constant, it cannot be packed once";
  if (std::string reason = refuse_gemm(linear_arguments(call), types); !reason.empty()) return reason;
  return std::make_unique<GemmOffer>(driver, call, types);
}

// [.., M, K] x [.., K, N] or [.., N, K]: a matrix of the second operand for each of the first, or one for all.
GemmArguments matmul_arguments(const KernelCall& call) {
  const Shape &a = call.in[0]->shape, &b = call.in[1]->shape, &y = call.out.shape;
  const bool transposed = call.attrs->integer("transpose_b") != 0;
  const int64_t rows = a[a.size() - 2], k = a.back(), columns = y.back();
  return {.rows = rows,
          .rows_per_image = rows,
          .x_pitch = k,
          .w_pitch = transposed ? k : 1,
          .w_step = transposed ? 1 : columns,
          .y_pitch = columns,
          .x_batch = numel(a) == rows * k ? 0 : rows * k,
          .w_batch = numel(b) == k * columns ? 0 : k * columns,
          .y_batch = rows * columns,
          .columns = static_cast<int>(columns),
          .k = static_cast<int>(k)};
}

Refusal refuse_matmul(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, 1})) return reason;
  if (call.in[0]->dtype != call.in[1]->dtype) return "factors of two dtypes";
  const Shape &a = call.in[0]->shape, &b = call.in[1]->shape, &y = call.out.shape;
  const int64_t matrices = numel(y) / (y[y.size() - 2] * y.back());
  const auto fits = [&](const Shape& s) {
    const int64_t own = numel(s) / (s[s.size() - 2] * s.back());
    return own == 1 || own == matrices;
  };
  if (!fits(a) || !fits(b)) return "matrices that are repeated for some of the others";
  return std::nullopt;
}

std::unique_ptr<BoundKernel> bind_matmul(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  GemmArguments a = matmul_arguments(call);
  a.x = buffers.in[0], a.w = buffers.in[1], a.y = buffers.out;
  const Shape& y = call.out.shape;
  return launches(driver, make_gemm(a, {.x = call.in[0]->dtype,
                                        .y = call.out.dtype,
                                        .bias = DType::float32,
                                        .plain = a.w_step != 1,
                                        .matrices = numel(y) / (y[y.size() - 2] * y.back())}));
}

}  // namespace

void add_linears(Driver& driver, Entries& list) {
  for (Op op : {Op::linear, Op::geglu_linear})
    list.push_back({.name = op == Op::linear ? "gemm" : "gemm_geglu",
                    .op = op,
                    .ask = [&driver](const KernelCall& call, const Target&) { return ask_linear(driver, call); },
                    .strided_in = true,
                    .strided_out = true});
  list.push_back(entry(driver, {.name = "matmul", .op = Op::matmul, .bind = bind_matmul, .refuse = refuse_matmul}));
}

}  // namespace vivace::cuda
