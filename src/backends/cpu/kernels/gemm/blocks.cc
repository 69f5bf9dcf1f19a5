// Decoding of a W in blocks, a panel at a time: rows of blocks are widened and converted, then their units laid side by side as packing does.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm/plan.h"

namespace vivace::cpu::gemm_detail {

void decode_blocks(const GemmPlan& plan, const GemmSpec& spec, const char* w, int64_t panel, int64_t unit, int64_t units, char* to) {
  constexpr int64_t kChunk = 256;             // values of a row at a time: whole blocks of every format
  constexpr int64_t kRowUnits = kChunk + 16;  // not a power of two: the transposition reads a column of it
  constexpr int kMaxPanel = 32;
  const Level& level = *plan.level;
  const BlockFormatInfo& format = *plan.blocks;
  const ConvertFn convert = level.convert[static_cast<int>(Elem::f32)][static_cast<int>(plan.w_used)];
  const int64_t row_bytes = spec.k / format.values * format.bytes, end = std::min(spec.k, (unit + units) * plan.per_unit);
  int64_t row[kMaxPanel];
  for (int j = 0; j < level.panel; ++j) row[j] = row_of(plan, spec, panel, j);
  uint32_t rows[kMaxPanel][kRowUnits];
  for (int j = 0; j < level.panel; ++j)
    if (row[j] < 0) std::memset(rows[j], 0, sizeof rows[j]);
  for (int64_t k0 = unit * plan.per_unit; k0 < end; k0 += kChunk) {
    const int64_t count = std::min(kChunk, end - k0);
    for (int j = 0; j < level.panel; ++j) {
      if (row[j] < 0) continue;
      float values[kChunk];
      level.widen(format, reinterpret_cast<const uint8_t*>(w) + row[j] * row_bytes + k0 / format.values * format.bytes, count / format.values,
                  values);
      convert(values, rows[j], count);
    }
    const int64_t some = count / plan.per_unit;
    level.interleave(rows[0], kRowUnits, level.panel, some, to);
    to += some * level.panel * 4;
  }
}

}  // namespace vivace::cpu::gemm_detail
