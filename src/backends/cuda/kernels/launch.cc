#include "backends/cuda/kernels/launch.h"

#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {

std::string module_text(const Launch& launch) {
  return cat("#include \"", launch.source, "\"\nnamespace vivace::cuda {\nextern \"C\" __global__ void __launch_bounds__(", launch.block,
             ") kernel(const __grid_constant__ ", launch.arguments, " arguments) { ", launch.function, "(arguments); }\n}\n");
}

std::string_view type_name(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float";
    case DType::bfloat16:
      return "bf16";
    case DType::float16:
      return "f16";
    case DType::float8_e4m3:
      return "f8e4m3";
    case DType::int32:
      return "int";
    default:
      throw InternalError(cat("no CUDA kernel is for ", dtype_name(dtype)));
  }
}

}  // namespace vivace::cuda
