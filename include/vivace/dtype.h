// Element types, under the names PyTorch and safetensors give them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "vivace/api.h"

namespace vivace VIVACE_API {

enum class DType : uint8_t { float32, float16, bfloat16, float8_e4m3, float64, int8, uint8, int32, int64, boolean };

inline constexpr DType float32 = DType::float32;
inline constexpr DType float16 = DType::float16;
inline constexpr DType bfloat16 = DType::bfloat16;

// Bytes one element takes.
size_t dtype_size(DType dtype);
// "float32", "bfloat16", ...
std::string_view dtype_name(DType dtype);
// Accepts PyTorch's names and the short ones (fp32, float32, float; bf16, bfloat16; fp16, float16, half). Throws UsageError.
DType parse_dtype(std::string_view name);
// float32, float16, bfloat16, float8_e4m3 or float64.
bool is_floating(DType dtype);

}  // namespace VIVACE_API
