#include "tensor/philox.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <utility>

namespace vivace {
namespace {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t subsequence, uint64_t block) {
  std::array<uint32_t, 4> c{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(subsequence),
                            static_cast<uint32_t>(subsequence >> 32)};
  auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, low += 0x9e3779b9u, high += 0xbb67ae85u) {
    const uint64_t a = uint64_t{0xd2511f53u} * c[0], b = uint64_t{0xcd9e8d57u} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ low, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c[3] ^ high,
         static_cast<uint32_t>(a)};
  }
  return c;
}

// cuRAND's formulas; its own sine and cosine are approximate, so the last bits differ.
constexpr float kStep = 2.3283064e-10f, kTurn = 2.3283064e-10f * 6.2831855f;
float unit(uint32_t x) { return std::fma(static_cast<float>(x), kStep, kStep / 2.f); }  // (0, 1]
std::pair<float, float> normals(uint32_t x, uint32_t y) {
  const float radius = std::sqrt(-2.f * std::log(unit(x))), angle = std::fma(static_cast<float>(y), kTurn, kTurn / 2.f);
  return {radius * std::sin(angle), radius * std::cos(angle)};
}

}  // namespace

uint64_t philox_fill(std::span<float> values, uint64_t seed, uint64_t offset, int64_t threads, bool normal) {
  const int64_t count = std::ssize(values);
  if (count == 0) return offset;
  constexpr int64_t kBlock = 256;  // threads of a block of torch's grid
  const int64_t grid = std::min(threads, (count + kBlock - 1) / kBlock * kBlock), draws = (count - 1) / (4 * grid) + 1;
  for (int64_t draw = 0; draw < draws; ++draw)
    for (int64_t thread = 0; thread < grid && 4 * draw * grid + thread < count; ++thread) {
      const std::array<uint32_t, 4> bits = philox(seed, static_cast<uint64_t>(thread), offset / 4 + static_cast<uint64_t>(draw));
      std::array<float, 4> y{};
      if (normal) {
        std::tie(y[0], y[1]) = normals(bits[0], bits[1]);
        std::tie(y[2], y[3]) = normals(bits[2], bits[3]);
      } else {
        std::ranges::transform(bits, y.begin(), [](uint32_t x) { return unit(x) == 1 ? 0 : unit(x); });
      }
      for (int64_t k = 0; k < 4; ++k)
        if (const int64_t i = (4 * draw + k) * grid + thread; i < count) values[static_cast<size_t>(i)] = y[static_cast<size_t>(k)];
    }
  return offset + 4 * static_cast<uint64_t>(draws);
}

}  // namespace vivace
