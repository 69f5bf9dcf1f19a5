#include "backends/cpu/entries.h"

#include <algorithm>

#include "base/log.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace::cpu {

Act act_of(const std::string& name) {
  if (name.empty()) return Act::none;
  if (name == "silu") return Act::silu;
  if (name == "gelu") return Act::gelu;
  if (name == "gelu_tanh") return Act::gelu_tanh;
  if (name == "quick_gelu") return Act::quick_gelu;
  if (name == "relu") return Act::relu;
  throw InternalError("activation " + name);
}

double int16_bound(const Attrs& attrs) {
  // What TF32 and bfloat16 would have, about.
  constexpr double kHigh = 7e-4, kMedium = 2e-3;
  const std::string& precision = attrs.text("matmul_precision");
  return std::max(attrs.real("int16_error"), precision == "medium" ? kMedium : precision == "high" ? kHigh : 0);
}

Refusal refuse_error(double error, double bound, std::string_view off) {
  if (error <= bound) return std::nullopt;
  return bound == 0 ? std::string(off) : cat("its relative error of ", error, " is above the error budget of ", bound);
}

bool is_activation_dtype(DType dtype) { return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16; }

RowInput row_input(const Operand& operand, const void* data) { return {data, operand.dtype, operand.row_pitch()}; }
RowOutput row_output(const Operand& operand, void* data) {
  if (!is_quantized_rows(operand.dtype)) return {.data = data, .dtype = operand.dtype, .stride = operand.row_pitch()};
  // All rows, then what is known of each (op_list.inc).
  static_assert(sizeof(RowScale) == kQuantizedRowScale);
  const int64_t stride = operand.columns() - kQuantizedRowScale;
  return {.data = data,
          .dtype = operand.dtype,
          .stride = stride,
          .scale = reinterpret_cast<RowScale*>(static_cast<char*>(data) + operand.rows() * stride)};
}

RowOutput rows_output(const KernelCall& call, void* data) {
  RowOutput rows = row_output(call.out, data);
  rows.hadamard = call.attrs->integer("hadamard");
  return rows;
}

Refusal refuse_unless_activations(const KernelCall& call, std::initializer_list<size_t> inputs) {
  for (size_t i : inputs)
    if (call.has(i) && !is_activation_dtype(call.in[i]->dtype))
      return cat("input ", i, " is ", dtype_name(call.in[i]->dtype), ", not a float activation");
  if (!is_activation_dtype(call.out.dtype) && !call.attrs->has("quantize"))
    return cat("the output is ", dtype_name(call.out.dtype), ", not a float activation");
  return std::nullopt;
}

}  // namespace vivace::cpu
