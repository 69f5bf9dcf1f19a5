// The CPU's kernel entries, a family a file; device.cc puts them in order.
#pragma once

#include <span>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "runtime/device.h"

namespace vivace::cpu {

std::span<const KernelEntry> linear_entries();
std::span<const KernelEntry> conv_entries();
std::span<const KernelEntry> onednn_entries();
std::span<const KernelEntry> norm_entries();
std::span<const KernelEntry> attention_entries();
std::span<const KernelEntry> elementwise_entries();
std::span<const KernelEntry> movement_entries();
std::span<const KernelEntry> axis_entries();

// The activation named by an op's "act" attribute; Act::none for "".
Act act_of(const std::string& name);
// The largest relative error that products of int16 may have in a linear or a convolution, by int16_error or matmul_precision. 0: there are to be
// none.
double int16_bound(const Attrs& attrs);
// Nothing where a kernel's relative error is within the bound that the graph sets. Otherwise the reason: `off` under a bound of 0, else both numbers.
Refusal refuse_error(double error, double bound, std::string_view off);
// float32, bfloat16 or float16: what the kernels take as activations.
bool is_activation_dtype(DType dtype);
inline Isa level_of(const Target& target) { return static_cast<Isa>(target.level); }
// Operand i of a call as rows, at `data`.
RowInput row_input(const Operand& operand, const void* data);
// uint8: quantised rows with their scales behind them.
RowOutput row_output(const Operand& operand, void* data);
// The output of an op that may write quantised rows, which may be turned (attribute hadamard).
RowOutput rows_output(const KernelCall& call, void* data);
// Refuses unless every present input listed and the output are activations; the output may be quantised rows where the op says so.
Refusal refuse_unless_activations(const KernelCall& call, std::initializer_list<size_t> inputs);

// Asks a kernel that decides nothing before it is bound: `refuse`, then an offer that keeps the call.
inline Refusal refuse_nothing(const KernelCall&) { return std::nullopt; }
template <auto bind, Refusal (*refuse)(const KernelCall&) = refuse_nothing>
Answer accept(const KernelCall& call, const Target&) {
  if (Refusal reason = refuse(call)) return *reason;
  return call_offer(call, bind);
}

}  // namespace vivace::cpu
