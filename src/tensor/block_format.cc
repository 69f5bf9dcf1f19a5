#include "tensor/block_format.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "tensor/block_values.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::array<BlockFormatInfo, 13> kFormats{{
    {BlockFormat::int8, "int8", 1, 1},
    {BlockFormat::float8_e4m3, "float8_e4m3", 1, 1},
    {BlockFormat::float8_e5m2, "float8_e5m2", 1, 1},
    {BlockFormat::q4_0, "q4_0", 32, 18},
    {BlockFormat::q4_1, "q4_1", 32, 20},
    {BlockFormat::q5_0, "q5_0", 32, 22},
    {BlockFormat::q5_1, "q5_1", 32, 24},
    {BlockFormat::q8_0, "q8_0", 32, 34},
    {BlockFormat::q2_k, "q2_k", 256, 84},
    {BlockFormat::q3_k, "q3_k", 256, 110},
    {BlockFormat::q4_k, "q4_k", 256, 144},
    {BlockFormat::q5_k, "q5_k", 256, 176},
    {BlockFormat::q6_k, "q6_k", 256, 210},
}};

float value_of(BlockFormat format, uint8_t bits) {
  if (format == BlockFormat::int8) return static_cast<float>(static_cast<int8_t>(bits));
  if (format == BlockFormat::float8_e5m2) return f16::to_float(static_cast<uint16_t>(bits << 8));  // the upper half of a float16
  f8e4m3 x;
  x.bits = bits;
  return static_cast<float>(x);
}

}  // namespace

const BlockFormatInfo& block_format_info(BlockFormat format) { return kFormats[static_cast<size_t>(format)]; }

std::optional<BlockFormat> find_block_format(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &BlockFormatInfo::name);
  return found == kFormats.end() ? std::nullopt : std::optional(found->format);
}

std::optional<int64_t> values_in(std::string_view format, int64_t bytes) {
  const std::optional<BlockFormat> known = find_block_format(format);
  if (!known) return std::nullopt;
  const BlockFormatInfo& block = block_format_info(*known);
  return bytes % block.bytes == 0 ? std::optional(bytes / block.bytes * block.values) : std::nullopt;
}

void widen_blocks(BlockFormat format, std::span<const std::byte> blocks, float* values) {
  const BlockFormatInfo& f = block_format_info(format);
  const auto bytes = static_cast<size_t>(f.bytes);
  if (blocks.size() % bytes != 0) throw InternalError(cat(blocks.size(), " bytes are no whole blocks of ", f.name));
  const auto* from = reinterpret_cast<const uint8_t*>(blocks.data());
  if (f.values > 1) return widen_several(f, from, static_cast<int64_t>(blocks.size() / bytes), values);
  std::transform(from, from + blocks.size(), values, [format](uint8_t bits) { return value_of(format, bits); });
}

}  // namespace vivace
