#include "backends/cuda/entries.h"

#include <algorithm>

#include "backends/cuda/stream.h"
#include "base/log.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace::cuda {

std::vector<KernelEntry> entries(Driver& driver) {
  Entries list;
  add_library_gemms(driver, list);
  add_linears(driver, list);
  add_narrow_linears(driver, list);
  add_library_gemms_apart(driver, list);
  add_library_convolutions(driver, list);
  add_convolutions(driver, list);
  add_library_convolutions_behind(driver, list);
  add_norms(driver, list);
  add_attention(driver, list);
  add_library_attention(driver, list);
  add_math_attention(driver, list);
  add_elementwise(driver, list);
  add_movement(driver, list);
  return list;
}

Launches& Launches::add(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes) {
  One one{function, {grid[0], grid[1], grid[2]}, block, shared, std::vector<char>(bytes)};
  std::memcpy(one.arguments.data(), arguments, bytes);
  all_.push_back(std::move(one));
  return *this;
}

void Launches::run(Stream& stream) noexcept {
  auto& on = static_cast<CudaStream&>(stream);
  for (const One& one : all_)
    if (one.grid[0] && one.grid[1] && one.grid[2])
      on.check(driver_.launch(one.function, one.grid, one.block, one.shared, one.arguments.data(), one.arguments.size(), on.handle()),
               "launching a kernel");
}

KernelEntry entry(Driver& driver, const Row& row) {
  return {.name = std::string(row.name),
          .op = row.op,
          .ask = [&driver, row](const KernelCall& call, const Target&) -> Answer {
            if (row.refuse)
              if (Refusal reason = row.refuse(call)) return *reason;
            return call_offer(
                call, [&driver, bind = row.bind](const KernelCall& c, const Buffers& buffers) { return bind(driver, c, buffers); },
                row.workspace ? row.workspace(call) : 0);
          },
          .strided_in = row.strided,
          .strided_out = row.strided,
          .in_place = row.in_place};
}

bool is_activation_dtype(DType dtype) { return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16; }

Refusal refuse_unless_activations(const KernelCall& call, std::initializer_list<size_t> inputs) {
  for (size_t i : inputs)
    if (call.has(i) && !is_activation_dtype(call.in[i]->dtype))
      return cat("input ", i, " is ", dtype_name(call.in[i]->dtype), ", not a float activation");
  if (!is_activation_dtype(call.out.dtype) && !call.attrs->has("quantize"))
    return cat("the output is ", dtype_name(call.out.dtype), ", not a float activation");
  return std::nullopt;
}

Activation activation_of(const std::string& name) {
  constexpr std::pair<std::string_view, Activation> kNames[] = {
      {"", kIdentity}, {"silu", kSilu}, {"gelu", kGelu}, {"gelu_tanh", kGeluTanh}, {"quick_gelu", kQuickGelu}, {"relu", kRelu}};
  const auto found = std::ranges::find(kNames, name, &std::pair<std::string_view, Activation>::first);
  if (found == std::end(kNames)) throw InternalError("activation " + name);
  return found->second;
}

long long row_pitch(const Operand& operand) {
  return is_quantized_rows(operand.dtype) ? operand.columns() - kQuantizedRowScale : operand.row_pitch();
}

float* scales_of(const Operand& operand, void* data) {
  return is_quantized_rows(operand.dtype) ? reinterpret_cast<float*>(static_cast<char*>(data) + operand.rows() * row_pitch(operand)) : nullptr;
}

}  // namespace vivace::cuda
