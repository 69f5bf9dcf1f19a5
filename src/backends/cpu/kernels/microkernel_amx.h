// Register tiles for AMX: up to 32 rows x 32 results from 4-byte units along K, on the packed panels of microkernel_avx512.h. `Tiles` has the eight
// tile registers of the hardware (AmxTiles, below) or of a test that emulates them. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/kernels/ahead.h"

namespace vivace::cpu {
namespace {

enum class AmxDot { bf16, u8s8 };

constexpr int kAmxRows = 32, kAmxColumns = 32;
constexpr int64_t kAmxUnits = 16;  // of K in one product

// What a product does to the tile registers. Sums are tiles 0 to 3 [row half][column half], A's halves 4 and 5, B's 6 and 7.
struct AmxTiles {
  // As LDTILECFG reads it: palette 1, bytes of a row and rows of each tile.
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  static void configure(const Config& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  static void release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const void* p, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  // As load(), of what is met once: it leaves the first cache to what is met again.
  template <int kTile>
  static void stream(const void* p, int64_t stride) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* p, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  template <AmxDot kDot, int kSum, int kA, int kB>
  static void dot() {
    if constexpr (kDot == AmxDot::bf16) asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
    if constexpr (kDot == AmxDot::u8s8) asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
  }
};

// A thread remembers for how many rows its tiles are configured, so that equal tiles configure once. That holds inside a scope only: other code may
// use the tiles in between.
template <class Tiles>
class AmxScope {
 public:
  AmxScope() { enter(); }
  ~AmxScope() { leave(); }
  AmxScope(const AmxScope&) = delete;
  AmxScope& operator=(const AmxScope&) = delete;

  static void enter() { rows_ = 0; }
  static void leave() {
    if (rows_) Tiles::release();
  }

  static void need(int rows) {
    if (rows == rows_) return;
    typename Tiles::Config config;
    const int halves[2] = {rows < 16 ? rows : 16, rows < 16 ? 0 : rows - 16};
    auto set = [&](int tile, int tile_rows) {
      config.rows[tile] = static_cast<uint8_t>(tile_rows);
      config.row_bytes[tile] = tile_rows ? 64 : 0;
    };
    for (int half = 0; half < 2; ++half) set(2 * half, halves[half]), set(2 * half + 1, halves[half]), set(4 + half, halves[half]), set(6 + half, 16);
    Tiles::configure(config);
    rows_ = rows;
  }

 private:
  static inline thread_local int rows_ = 0;
};

// How A's tiles are read. met_once: no other panel meets them while they would be in the first cache, which is left to B.
enum class AmxRows { met_again, met_once };

template <class Tiles, AmxRows kRows, int kTile>
void amx_load_rows(const char* a, int64_t a_stride) {
  if constexpr (kRows == AmxRows::met_once)
    Tiles::template stream<kTile>(a, a_stride);
  else
    Tiles::template load<kTile>(a, a_stride);
}

template <class Tiles, AmxDot kDot, AmxRows kRows, bool kBoth>
void amx_step(const char* a, int64_t a_stride, const char* b, int64_t b_stride) {
  Tiles::template load<6>(b, b_stride);
  amx_load_rows<Tiles, kRows, 4>(a, a_stride);
  Tiles::template load<7>(b + 64, b_stride);
  Tiles::template dot<kDot, 0, 4, 6>();
  if constexpr (kBoth) amx_load_rows<Tiles, kRows, 5>(a + 16 * a_stride, a_stride);
  Tiles::template dot<kDot, 1, 4, 7>();
  if constexpr (kBoth) Tiles::template dot<kDot, 2, 5, 6>();
  if constexpr (kBoth) Tiles::template dot<kDot, 3, 5, 7>();
}

template <class Tiles, AmxDot kDot, AmxRows kRows, bool kBoth>
void amx_products(const char* a, int64_t a_stride, const ptrdiff_t* taps, int64_t tap_count, int64_t units, const char* b, float* c, int64_t c_stride,
                  int rows, bool accumulate, Ahead ahead) {
  constexpr int64_t kRowBytes = kAmxColumns * 4;
  float* const second = c + 16 * c_stride;
  const int64_t c_bytes = c_stride * 4;
  if (accumulate) {
    Tiles::template load<0>(c, c_bytes);
    Tiles::template load<1>(c + 16, c_bytes);
    if constexpr (kBoth) Tiles::template load<2>(second, c_bytes);
    if constexpr (kBoth) Tiles::template load<3>(second + 16, c_bytes);
  } else {
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    if constexpr (kBoth) Tiles::template zero<2>();
    if constexpr (kBoth) Tiles::template zero<3>();
  }
  const int64_t whole = units / kAmxUnits * kAmxUnits, rest = units - whole;
  for (int64_t t = 0; t < tap_count; ++t) {
    const char* from = a + taps[t] * 4;
    for (int64_t u = 0; u < whole; u += kAmxUnits, from += kAmxUnits * 4, b += kAmxUnits * kRowBytes) {
      ahead.fetch();
      amx_step<Tiles, kDot, kRows, kBoth>(from, a_stride, b, kRowBytes);
    }
    if (rest == 0) continue;
    // The last units with zeros behind them. Both sides: zero times what lies behind the weights may be NaN.
    alignas(64) char a_rest[kAmxRows * 64], b_rest[kAmxUnits * kRowBytes];
    std::memset(a_rest, 0, static_cast<size_t>(rows) * 64);
    std::memset(b_rest + rest * kRowBytes, 0, static_cast<size_t>((kAmxUnits - rest) * kRowBytes));
    for (int r = 0; r < rows; ++r) std::memcpy(a_rest + r * 64, from + r * a_stride, static_cast<size_t>(rest * 4));
    std::memcpy(b_rest, b, static_cast<size_t>(rest * kRowBytes));
    amx_step<Tiles, kDot, kRows, kBoth>(a_rest, 64, b_rest, kRowBytes);
    b += rest * kRowBytes;
  }
  Tiles::template store<0>(c, c_bytes);
  Tiles::template store<1>(c + 16, c_bytes);
  if constexpr (kBoth) Tiles::template store<2>(second, c_bytes);
  if constexpr (kBoth) Tiles::template store<3>(second + 16, c_bytes);
}

// c[rows][32] = (accumulate ? c : 0) + the sum over taps t of a[rows][units] at a + taps[t] units, times b[t][units][32 units].
// Rows of a lie a_stride bytes apart, of c c_stride floats. 1 <= rows <= 32. Only what is named is
// read. Inside an AmxScope of these Tiles.
template <class Tiles, AmxDot kDot, AmxRows kRows = AmxRows::met_again>
[[gnu::noinline]] void amx_tile(const void* a, int64_t a_stride, const ptrdiff_t* taps, int64_t tap_count, int64_t units, const void* b, float* c,
                                int64_t c_stride, int rows, bool accumulate, Ahead ahead = {}) {
  AmxScope<Tiles>::need(rows);
  auto* products = rows > 16 ? amx_products<Tiles, kDot, kRows, true> : amx_products<Tiles, kDot, kRows, false>;
  products(static_cast<const char*>(a), a_stride, taps, tap_count, units, static_cast<const char*>(b), c, c_stride, rows, accumulate, ahead);
}

}  // namespace
}  // namespace vivace::cpu
