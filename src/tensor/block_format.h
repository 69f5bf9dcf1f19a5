// Storage in blocks: a few values of a row packed together with their scale, as ggml's formats are, which GGUF files have; and single values of 8
// bits. Only widened: to float32, exactly what the formats' definition gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace vivace {

enum class BlockFormat : uint8_t { int8, float8_e4m3, float8_e5m2, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k };

struct BlockFormatInfo {
  BlockFormat format;
  std::string_view name;  // "q4_k"
  int64_t values = 1;     // of a block
  int64_t bytes = 1;      // that it takes
};
const BlockFormatInfo& block_format_info(BlockFormat format);
// Of a name; nullopt where it is none.
std::optional<BlockFormat> find_block_format(std::string_view name);

// Values of that many bytes in a format of this name; nullopt where there is none, or its blocks are not whole.
std::optional<int64_t> values_in(std::string_view format, int64_t bytes);

// The values of whole blocks, one after the other: as many as there are for blocks.size() bytes, which is a multiple of a block's.
void widen_blocks(BlockFormat format, std::span<const std::byte> blocks, float* values);

}  // namespace vivace
