// linear and geglu_linear with a weight that is kept in 8 bits: multiplied as it is by rows of 8 bits (int8_dynamic, float8_dynamic), or widened
// before each product (weight_storage, or as the checkpoint stores it), which costs a pass over it and saves memory. GPUs that multiply no float8
// widen both factors to bfloat16, which holds all of its values: the same products.
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/linear.h"
#include "backends/cuda/narrow.h"
#include "base/log.h"
#include "ops/infer.h"

namespace vivace::cuda {
namespace {

class NarrowOffer final : public Offer {
 public:
  NarrowOffer(Driver& driver, const KernelCall& call, const GemmTypes& types, const NarrowWeight& weight, DType rows)
      : driver_(driver),
        arguments_(linear_arguments(call)),
        types_(types),
        weight_(weight),
        rows_{.x = *call.in[0], .dtype = rows, .hadamard = weight.hadamard},
        quantizes_(weight.products && rows_.x.dtype != rows),
        widens_(dtype_size(types.x) > 1),
        widened_weight_at_(quantizes_ ? aligned(rows_.bytes()) : 0),
        widened_rows_at_(widened_weight_at_ + (widens_ ? aligned(static_cast<size_t>(numel(weight.weight.shape)) * dtype_size(types.x)) : 0)) {
    packed = {
        .input = static_cast<int>(kWeight), .scales = weight.stored ? static_cast<int>(kScale) : -1, .bytes = weight.bytes(), .key = weight.key()};
    workspace_bytes = widened_rows_at_;
    if (widens_ && weight.products) workspace_bytes += static_cast<size_t>(rows_.x.rows() * rows_.pitch()) * dtype_size(types.x);
  }

  void pack(const void* source, const void* scales, void* to, Stream& stream) const override { weight_.pack(driver_, source, scales, to, stream); }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    auto all = std::make_unique<Launches>(driver_);
    GemmArguments a = with_buffers(arguments_, buffers);
    const float* const scales = weight_.scales_in(a.w);
    if (quantizes_) {
      const auto quantize = rows_.make(a.x, buffers.workspace, buffers.bad_value);
      all->add(quantize);
      a.x = buffers.workspace, a.x_pitch = rows_.pitch(), a.row_scales = quantize.arguments.scales;
    } else if (weight_.products) {
      a.row_scales = scales_of(rows_.x, buffers.in[0]);
    }
    if (weight_.products) a.scales = scales;
    if (widens_) {
      const auto widen = [&](const void* from, const float* by, DType dtype, int64_t rows, int64_t columns, size_t at) -> const void* {
        void* const to = static_cast<char*>(buffers.workspace) + at;
        all->add(make_dequantize({from, by, to, rows, columns}, dtype, types_.x));
        return to;
      };
      const Shape& w = weight_.weight.shape;
      a.w = widen(a.w, weight_.products ? nullptr : scales, weight_.storage, w[0], w[1], widened_weight_at_);
      if (weight_.products) a.x = widen(a.x, nullptr, rows_.dtype, a.rows, a.x_pitch, widened_rows_at_);
    }
    all->add(make_gemm(a, types_));
    return all;
  }

 private:
  Driver& driver_;
  const GemmArguments arguments_;
  const GemmTypes types_;
  const NarrowWeight weight_;
  const QuantizedRows rows_;
  const bool quantizes_, widens_;  // rows that come as floats; factors of 8 bits
  const size_t widened_weight_at_, widened_rows_at_;
};

Answer ask_narrow_linear(Driver& driver, const KernelCall& call) {
  const Operand &x = *call.in[0], &w = *call.in[kWeight];
  const std::string &compute = call.attrs->text("compute"), &wanted = call.attrs->text("weight_storage");
  if (compute.empty() && wanted.empty() && !is_narrow(w.dtype)) return "the weight is kept as it is";
  if (!is_activation_dtype(call.out.dtype)) return cat("the output is ", dtype_name(call.out.dtype), ", not a float activation");
  const DType rows = quantized_rows(compute), products = rows == DType::uint8 ? DType::int8 : rows;
  const NarrowWeight weight{.weight = w,
                            .storage = is_narrow(w.dtype) ? w.dtype
                                       : wanted.empty()   ? products
                                                          : parse_dtype(wanted),
                            .products = !compute.empty(),
                            .geglu = call.op == Op::geglu_linear,
                            .hadamard = static_cast<int>(call.attrs->integer("hadamard")),
                            .stored = call.has(kScale)};
  if (weight.products && weight.storage != products) return cat("products of ", dtype_name(products), " with a weight of ", dtype_name(w.dtype));
  if (!(x.dtype == rows && weight.products) && !is_activation_dtype(x.dtype)) return cat("the input is ", dtype_name(x.dtype));
  if (!is_narrow(w.dtype) && !is_activation_dtype(w.dtype)) return cat("the weight is ", dtype_name(w.dtype));
  if (is_narrow(w.dtype) && weight.hadamard) return "a weight that is stored in 8 bits cannot be turned";
  if (Refusal reason = refuse_epilogue(call)) return *reason;
  if (!w.constant || (call.has(kScale) && !call.in[kScale]->constant)) return "the weight is not constant, it cannot be packed once";
  if (w.columns() > kMostNarrowColumns) return cat("more than ", kMostNarrowColumns, " features");
  const DType factors = !weight.products ? x.dtype : rows == DType::float8_e4m3 && !driver.properties().multiplies_float8() ? DType::bfloat16 : rows;
  const GemmTypes types{.x = factors, .y = call.out.dtype, .bias = DType::float32, .geglu = weight.geglu};
  if (std::string reason = refuse_gemm(linear_arguments(call), types); !reason.empty()) return reason;
  return std::make_unique<NarrowOffer>(driver, call, types, weight, rows);
}

}  // namespace

void add_narrow_linears(Driver& driver, Entries& list) {
  for (Op op : {Op::linear, Op::geglu_linear})
    list.push_back({.name = op == Op::linear ? "gemm_8_bits" : "gemm_geglu_8_bits",
                    .op = op,
                    .ask = [&driver](const KernelCall& call, const Target&) { return ask_narrow_linear(driver, call); },
                    .strided_in = true,
                    .strided_out = true});
}

}  // namespace vivace::cuda
