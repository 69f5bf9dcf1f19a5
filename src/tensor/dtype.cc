#include "vivace/dtype.h"

#include <array>
#include <string>

#include "vivace/error.h"

namespace vivace {
namespace {
struct Row {
  DType dtype;
  std::string_view name, short_name, other;
  size_t size;
  bool floating;
};
constexpr std::array<Row, 10> kRows{{
    {DType::float32, "float32", "fp32", "float", 4, true},
    {DType::float16, "float16", "fp16", "half", 2, true},
    {DType::bfloat16, "bfloat16", "bf16", "bf16", 2, true},
    {DType::float8_e4m3, "float8_e4m3", "fp8", "float8_e4m3fn", 1, true},
    {DType::float64, "float64", "fp64", "double", 8, true},
    {DType::int8, "int8", "i8", "int8", 1, false},
    {DType::uint8, "uint8", "u8", "uint8", 1, false},
    {DType::int32, "int32", "i32", "int", 4, false},
    {DType::int64, "int64", "i64", "long", 8, false},
    {DType::boolean, "bool", "bool", "boolean", 1, false},
}};
const Row& row(DType dtype) { return kRows[static_cast<size_t>(dtype)]; }
}  // namespace

size_t dtype_size(DType dtype) { return row(dtype).size; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }
bool is_floating(DType dtype) { return row(dtype).floating; }

DType parse_dtype(std::string_view name) {
  for (const Row& r : kRows)
    if (name == r.name || name == r.short_name || name == r.other) return r.dtype;
  throw UsageError("unknown dtype \"" + std::string(name) + "\": expected one of fp32, bf16, fp16 (or float32, bfloat16, float16)");
}

}  // namespace vivace
