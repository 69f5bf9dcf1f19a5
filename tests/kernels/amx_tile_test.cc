// The AMX register tile on tiles emulated in plain C++, so that its loads, halves, rests and configurations are tested on any machine.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "backends/cpu/kernels/microkernel_amx.h"
#include "tensor/half.h"

namespace vivace::cpu {
namespace {

struct EmulatedTile {
  int rows = 0, bytes = 0;
  char data[16][64] = {};
};

// The eight tile registers as Intel's manual describes them (volume 2: LDTILECFG, TILELOADD, TDPBF16PS, TDPBUSD). Misuse that the hardware answers
// with a fault is a test failure.
struct EmulatedTiles {
  using Config = AmxTiles::Config;
  using Tile = EmulatedTile;
  static inline std::array<Tile, 8> tiles;
  static inline bool configured = false;
  static inline int configurations = 0;

  static void configure(const Config& config) {
    ASSERT_EQ(config.palette, 1);
    for (size_t i = 0; i < 8; ++i) {
      tiles[i] = {config.rows[i], config.row_bytes[i], {}};
      ASSERT_TRUE(tiles[i].rows <= 16 && tiles[i].bytes <= 64 && (tiles[i].rows == 0) == (tiles[i].bytes == 0));
    }
    configured = true;
    ++configurations;
  }
  static void release() {
    tiles = {};
    configured = false;
  }
  static Tile& used(int tile) {
    EXPECT_TRUE(configured && tiles[static_cast<size_t>(tile)].rows > 0) << "tile " << tile;
    return tiles[static_cast<size_t>(tile)];
  }
  template <int kTile>
  static void zero() {
    Tile& t = used(kTile);
    std::memset(t.data, 0, sizeof t.data);
  }
  template <int kTile>
  static void load(const void* p, int64_t stride) {
    Tile& t = used(kTile);
    for (int r = 0; r < t.rows; ++r) std::memcpy(t.data[r], static_cast<const char*>(p) + r * stride, static_cast<size_t>(t.bytes));
  }
  template <int kTile>
  static void stream(const void* p, int64_t stride) {
    load<kTile>(p, stride);
  }
  template <int kTile>
  static void store(void* p, int64_t stride) {
    const Tile& t = used(kTile);
    for (int r = 0; r < t.rows; ++r) std::memcpy(static_cast<char*>(p) + r * stride, t.data[r], static_cast<size_t>(t.bytes));
  }
  template <AmxDot kDot, int kSum, int kA, int kB>
  static void dot() {
    Tile &sum = used(kSum), &a = used(kA), &b = used(kB);
    ASSERT_TRUE(a.rows == sum.rows && b.bytes == sum.bytes && a.bytes / 4 == b.rows);
    for (int m = 0; m < sum.rows; ++m)
      for (int n = 0; n < sum.bytes / 4; ++n)
        for (int k = 0; k < b.rows; ++k) add<kDot>(sum.data[m] + 4 * n, a.data[m] + 4 * k, b.data[k] + 4 * n);
  }
  template <AmxDot kDot>
  static void add(char* sum, const char* a, const char* b) {
    if constexpr (kDot == AmxDot::bf16) {
      float s;
      bf16 x[2], y[2];
      std::memcpy(&s, sum, 4), std::memcpy(x, a, 4), std::memcpy(y, b, 4);
      for (int i = 0; i < 2; ++i) s += static_cast<float>(x[i]) * static_cast<float>(y[i]);
      std::memcpy(sum, &s, 4);
    } else {
      int32_t s;
      std::memcpy(&s, sum, 4);
      for (int i = 0; i < 4; ++i) s += static_cast<uint8_t>(a[i]) * static_cast<int8_t>(b[i]);
      std::memcpy(sum, &s, 4);
    }
  }
};

// Small whole numbers: every sum is exact in float32 whatever its order.
void fill(std::vector<char>& bytes, AmxDot dot, bool is_signed, uint32_t seed) {
  std::mt19937 engine(seed);
  if (dot == AmxDot::u8s8) {
    for (char& c : bytes) c = static_cast<char>(is_signed ? static_cast<int>(engine() % 255) - 127 : static_cast<int>(engine() % 256));
    return;
  }
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const bf16 x(static_cast<float>(static_cast<int>(engine() % 17) - 8));
    std::memcpy(&bytes[i], &x, 2);
  }
}

double product(AmxDot dot, const char* a, const char* b) {
  double sum = 0;
  if (dot == AmxDot::u8s8) {
    for (int i = 0; i < 4; ++i) sum += static_cast<uint8_t>(a[i]) * static_cast<int8_t>(b[i]);
    return sum;
  }
  bf16 x[2], y[2];
  std::memcpy(x, a, 4), std::memcpy(y, b, 4);
  for (int i = 0; i < 2; ++i) sum += static_cast<double>(static_cast<float>(x[i])) * static_cast<double>(static_cast<float>(y[i]));
  return sum;
}

template <AmxDot kDot>
void check(int rows, int64_t units, const std::vector<ptrdiff_t>& taps, bool accumulate) {
  SCOPED_TRACE(testing::Message() << rows << " rows, " << units << " units, " << taps.size() << " taps" << (accumulate ? ", accumulated" : ""));
  const int64_t row_units = units + taps.back() + 3, tap_count = static_cast<int64_t>(taps.size());
  // To the byte as long as what may be read: a sanitizer sees more.
  std::vector<char> a(static_cast<size_t>(4 * ((rows - 1) * row_units + units + taps.back()))),
      b(static_cast<size_t>(tap_count * units * kAmxColumns * 4));
  fill(a, kDot, false, 1), fill(b, kDot, true, 2);
  constexpr int kColumns = kAmxColumns + 3;  // what lies between the rows stays as it is
  std::vector<float> c(static_cast<size_t>((rows + 1) * kColumns));
  const int32_t before = kDot == AmxDot::bf16 ? 0x40a00000 : 5;  // 5.f or 5
  for (float& x : c) std::memcpy(&x, &before, 4);
  auto* tile = accumulate ? amx_tile<EmulatedTiles, kDot, AmxRows::met_once> : amx_tile<EmulatedTiles, kDot, AmxRows::met_again>;
  tile(a.data(), row_units * 4, taps.data(), tap_count, units, b.data(), c.data(), kColumns, rows, accumulate, {});
  for (int r = 0; r <= rows; ++r) {
    for (int j = 0; j < kColumns; ++j) {
      const bool outside = r == rows || j >= kAmxColumns;
      double wanted = accumulate || outside ? 5 : 0;
      for (int64_t t = 0; t < tap_count && !outside; ++t)
        for (int64_t u = 0; u < units; ++u)
          wanted += product(kDot, &a[static_cast<size_t>(4 * (r * row_units + taps[static_cast<size_t>(t)] + u))],
                            &b[static_cast<size_t>(4 * ((t * units + u) * kAmxColumns + j))]);
      float got = c[static_cast<size_t>(r * kColumns + j)];
      if (kDot == AmxDot::u8s8) {
        int32_t bits;
        std::memcpy(&bits, &got, 4);
        got = static_cast<float>(bits);
      }
      ASSERT_EQ(got, wanted) << "row " << r << " column " << j;
    }
  }
}

TEST(AmxTile, EveryNumberOfRows) {
  const AmxScope<EmulatedTiles> scope;
  for (int rows = 1; rows <= kAmxRows; ++rows) {
    check<AmxDot::bf16>(rows, 35, {0}, false);
    check<AmxDot::u8s8>(rows, 35, {0}, true);
    if (HasFatalFailure()) return;
  }
}

TEST(AmxTile, EveryRestOfUnits) {
  const AmxScope<EmulatedTiles> scope;
  for (int64_t units = 1; units <= 34; ++units) {
    check<AmxDot::bf16>(19, units, {0}, true);
    check<AmxDot::u8s8>(7, units, {0}, false);
    if (HasFatalFailure()) return;
  }
}

TEST(AmxTile, Taps) {
  const AmxScope<EmulatedTiles> scope;
  check<AmxDot::bf16>(32, 16, {0, 16, 40}, false);
  check<AmxDot::bf16>(11, 21, {0, 5, 100, 107}, true);
}

TEST(AmxTile, ConfiguresOnceForEqualRowsAndAgainInTheNextScope) {
  const int before = EmulatedTiles::configurations;
  {
    const AmxScope<EmulatedTiles> scope;
    for (int rows : {32, 32, 32, 20, 20}) check<AmxDot::bf16>(rows, 16, {0}, false);
    EXPECT_EQ(EmulatedTiles::configurations - before, 2);
  }
  EXPECT_FALSE(EmulatedTiles::configured);
  EmulatedTiles::release();  // what other code may do between two scopes
  const AmxScope<EmulatedTiles> scope;
  check<AmxDot::bf16>(20, 16, {0}, false);
  EXPECT_EQ(EmulatedTiles::configurations - before, 3);
}

}  // namespace
}  // namespace vivace::cpu
