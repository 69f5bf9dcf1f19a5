#include "tensor/block_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/log.h"
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

// Reads a block's fields in their order.
class Fields {
 public:
  explicit Fields(const std::byte* at) : at_(reinterpret_cast<const uint8_t*>(at)) {}
  float half() {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes(2), sizeof bits);
    return f16::to_float(bits);
  }
  uint32_t word() {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes(4), sizeof bits);
    return bits;
  }
  const uint8_t* bytes(size_t count) {
    at_ += count;
    return at_ - count;
  }

 private:
  const uint8_t* at_;
};

// The scale and the minimum of 32 values each, 6 bits a number, in q4_k and q5_k.
struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin scale_and_min(const uint8_t* s, int group) {
  if (group < 4) return {s[group] & 63, s[group + 4] & 63};
  return {(s[group + 4] & 15) | ((s[group - 4] >> 6) << 4), (s[group + 4] >> 4) | ((s[group] >> 6) << 4)};
}

// Every product below is exact in float32 but q6_k's last, so the order of the arithmetic leaves no mark.

// 32 values of 4 bits and, with `high`, a fifth: d * (q - offset) + m.
void widen_32(Fields& f, bool has_min, bool has_high, int offset, float* y) {
  const float d = f.half(), m = has_min ? f.half() : 0;
  const uint32_t high = has_high ? f.word() : 0;
  const uint8_t* low = f.bytes(16);
  for (int i = 0; i < 32; ++i) {
    const int q = (i < 16 ? low[i] & 15 : low[i - 16] >> 4) | static_cast<int>((high >> i) & 1) << 4;
    const float product = d * static_cast<float>(q - offset);
    y[i] = has_min ? product + m : product;
  }
}

void widen_q8_0(Fields& f, float* y) {
  const float d = f.half();
  const uint8_t* q = f.bytes(32);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
}

void widen_q2_k(Fields& f, float* y) {
  const uint8_t *scales = f.bytes(16), *q = f.bytes(64);
  const float d = f.half(), dmin = f.half();
  for (int v = 0; v < 256; ++v) {
    const int half = v / 128, shift = v % 128 / 32, sc = scales[v / 16];
    const float scale = d * static_cast<float>(sc & 15), min = dmin * static_cast<float>(sc >> 4);
    y[v] = scale * static_cast<float>((q[32 * half + v % 32] >> (2 * shift)) & 3) - min;
  }
}

void widen_q3_k(Fields& f, float* y) {
  const uint8_t *high = f.bytes(32), *q = f.bytes(64), *s = f.bytes(12);
  const float d = f.half();
  for (int v = 0; v < 256; ++v) {
    const int half = v / 128, shift = v % 128 / 32, group = v / 16;
    const int scale = ((group < 8 ? s[group] & 15 : s[group - 8] >> 4) | ((s[8 + group % 4] >> (2 * (group / 4))) & 3) << 4) - 32;
    const int value = ((q[32 * half + v % 32] >> (2 * shift)) & 3) - ((high[v % 32] >> (v / 32)) & 1 ? 0 : 4);
    y[v] = d * static_cast<float>(scale) * static_cast<float>(value);
  }
}

void widen_q4_k(Fields& f, bool has_high, float* y) {
  const float d = f.half(), dmin = f.half();
  const uint8_t *s = f.bytes(12), *high = has_high ? f.bytes(32) : nullptr, *q = f.bytes(128);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMin sm = scale_and_min(s, group);
    const float scale = d * static_cast<float>(sm.scale), min = dmin * static_cast<float>(sm.min);
    for (int i = 0; i < 32; ++i) {
      const int low = (q[32 * (group / 2) + i] >> (4 * (group % 2))) & 15, fifth = high ? (high[i] >> group) & 1 : 0;
      y[32 * group + i] = scale * static_cast<float>(low | fifth << 4) - min;
    }
  }
}

void widen_q6_k(Fields& f, float* y) {
  const uint8_t *low = f.bytes(128), *high = f.bytes(64), *scales = f.bytes(16);
  const float d = f.half();
  for (int v = 0; v < 256; ++v) {
    const int half = v / 128, group = v % 128 / 32, i = v % 32;
    const int nibble = (low[64 * half + 32 * (group % 2) + i] >> (4 * (group / 2))) & 15, top = (high[32 * half + i] >> (2 * group)) & 3;
    y[v] = d * static_cast<float>(static_cast<int8_t>(scales[v / 16])) * static_cast<float>((nibble | top << 4) - 32);
  }
}

void widen_block(BlockFormat format, const std::byte* block, float* y) {
  Fields f(block);
  switch (format) {
    case BlockFormat::int8:
      *y = static_cast<float>(static_cast<int8_t>(*f.bytes(1)));
      return;
    case BlockFormat::float8_e4m3: {
      f8e4m3 x;
      x.bits = *f.bytes(1);
      *y = static_cast<float>(x);
      return;
    }
    // The upper half of a float16.
    case BlockFormat::float8_e5m2:
      *y = f16::to_float(static_cast<uint16_t>(*f.bytes(1) << 8));
      return;
    case BlockFormat::q4_0:
      return widen_32(f, false, false, 8, y);
    case BlockFormat::q4_1:
      return widen_32(f, true, false, 0, y);
    case BlockFormat::q5_0:
      return widen_32(f, false, true, 16, y);
    case BlockFormat::q5_1:
      return widen_32(f, true, true, 0, y);
    case BlockFormat::q8_0:
      return widen_q8_0(f, y);
    case BlockFormat::q2_k:
      return widen_q2_k(f, y);
    case BlockFormat::q3_k:
      return widen_q3_k(f, y);
    case BlockFormat::q4_k:
      return widen_q4_k(f, false, y);
    case BlockFormat::q5_k:
      return widen_q4_k(f, true, y);
    case BlockFormat::q6_k:
      return widen_q6_k(f, y);
  }
}

}  // namespace

const BlockFormatInfo& block_format_info(BlockFormat format) { return kFormats[static_cast<size_t>(format)]; }

std::optional<BlockFormat> find_block_format(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &BlockFormatInfo::name);
  return found == kFormats.end() ? std::nullopt : std::optional(found->format);
}

void widen_blocks(BlockFormat format, std::span<const std::byte> blocks, float* values) {
  const BlockFormatInfo& f = block_format_info(format);
  const auto bytes = static_cast<size_t>(f.bytes);
  if (blocks.size() % bytes != 0) throw InternalError(cat(blocks.size(), " bytes are no whole blocks of ", f.name));
  for (; !blocks.empty(); blocks = blocks.subspan(bytes), values += f.values) widen_block(format, blocks.data(), values);
}

}  // namespace vivace
