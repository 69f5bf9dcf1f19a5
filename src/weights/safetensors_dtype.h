// The names safetensors gives to dtypes, in the order the official writer sorts by (widest last).
#pragma once

#include <array>
#include <string_view>

#include "vivace/dtype.h"

namespace vivace {

struct SafetensorsDType {
  std::string_view name;
  DType dtype;
};

inline constexpr std::array<SafetensorsDType, 10> kSafetensorsDTypes{{
    {"BOOL", DType::boolean},
    {"U8", DType::uint8},
    {"I8", DType::int8},
    {"F8_E4M3", DType::float8_e4m3},
    {"F16", DType::float16},
    {"BF16", DType::bfloat16},
    {"I32", DType::int32},
    {"F32", DType::float32},
    {"F64", DType::float64},
    {"I64", DType::int64},
}};

}  // namespace vivace
