// Packing of W: rows are converted to the stored element, then the units of a panel's columns are laid side by side, in the order in which the
// register tile reads them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "backends/cpu/kernels/gemm/plan.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "base/parallel.h"
#include "tensor/narrow_weight.h"

namespace vivace::cpu {
namespace gemm_detail {
namespace {

constexpr int64_t kChunk = 256;                 // elements of K at a time: a panel's rows then fit the first cache
constexpr int kMaxPanel = 32;                   // columns
constexpr int64_t kRowBytes = kChunk * 4 + 64;  // not a power of two: the transposition reads a column of it

struct Source {
  const char* w;
  DType dtype;
  int64_t n, k;
  const float* scale;
  int64_t hadamard;

  const char* at(int64_t row, int64_t k0) const { return w + (row * k + k0) * static_cast<int64_t>(dtype_size(dtype)); }
};

void load_floats(const Level& level, const Source& source, int64_t row, int64_t k0, int64_t count, float* out) {
  if (source.dtype == DType::float64) {
    const double* from = reinterpret_cast<const double*>(source.at(row, k0));
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(from[i]);
  } else {
    level.convert[static_cast<int>(elem_of(source.dtype))][static_cast<int>(Elem::f32)](source.at(row, k0), out, count);
  }
  static_assert(kChunk % kLargestBlock == 0);
  if (source.hadamard > 0) hadamard_blocks(out, count, source.hadamard, out);
}

// What a row's scale as 8 bits follows from (narrow_weight.h); NaN where the row is not finite, so that it shows in the result.
float row_size(const Level& level, const Source& source, int64_t row, bool pairs) {
  static_assert(kChunk % 2 == 0);
  float values[kChunk];
  int32_t largest = 0;
  for (int64_t k0 = 0; k0 < source.k; k0 += kChunk) {
    const int64_t count = std::min(kChunk, source.k - k0);
    load_floats(level, source, row, k0, count, values);
    largest = std::max(largest, level.int8_size(values, count, pairs));
  }
  const auto size = std::bit_cast<float>(largest);
  return std::isfinite(size) ? size : std::numeric_limits<float>::quiet_NaN();
}

Int16Row int16_row(const Level& level, const Source& source, int64_t row) {
  float values[kChunk];
  RowSize size;
  for (int64_t k0 = 0; k0 < source.k; k0 += kChunk) {
    const int64_t count = std::min(kChunk, source.k - k0);
    load_floats(level, source, row, k0, count, values);
    level.measure[static_cast<int>(Elem::f32)](values, count, size);
  }
  return Int16Row(size, source.k);
}

// How a row is narrowed; neither where its elements are stored as they are given, or have no scale.
struct Narrowing {
  std::optional<NarrowRow> bits8;
  std::optional<Int16Row> bits16;
};

// One row's elements [k0, k0 + count) in the stored form, `to` being the stored element of this part. Gives the sum of what it stores as int8.
int32_t store_row(const Level& level, const Source& source, int64_t row, int64_t k0, int64_t count, Elem to, const Narrowing& narrow, char* out) {
  const bool scaled = narrow.bits8 || narrow.bits16;
  const ConvertFn direct = source.dtype == DType::float64 ? nullptr : level.convert[static_cast<int>(elem_of(source.dtype))][static_cast<int>(to)];
  if (direct && !scaled) {
    direct(source.at(row, k0), out, count);
    int32_t sum = 0;
    for (int64_t i = 0; to == Elem::s8 && i < count; ++i) sum += static_cast<int8_t>(out[i]);
    return sum;
  }
  float values[kChunk];
  load_floats(level, source, row, k0, count, values);
  if (to == Elem::s8) return level.to_int8(values, count, narrow.bits8->inverse(), reinterpret_cast<int8_t*>(out));
  if (!scaled) {
    level.convert[static_cast<int>(Elem::f32)][static_cast<int>(to)](values, out, count);
  } else if (to == Elem::s16) {
    level.to_int16[static_cast<int>(Elem::f32)](values, narrow.bits16->inverse, reinterpret_cast<int16_t*>(out), count);
  } else {
    for (int64_t i = 0; i < count; ++i) reinterpret_cast<f8e4m3*>(out)[i] = narrow.bits8->float8(values[i]);
  }
  return 0;
}

template <class T>
void interleave(const char (*rows)[kRowBytes], int columns, int64_t units, char* out) {
  for (int64_t u = 0; u < units; ++u) {
    for (int j = 0; j < columns; ++j, out += sizeof(T)) std::memcpy(out, rows[j] + u * sizeof(T), sizeof(T));
  }
}

void interleave(const Level& level, const char (*rows)[kRowBytes], int columns, int64_t units, int64_t unit_bytes, char* out) {
  if (unit_bytes == 4 && units % 4 == 0) return level.interleave(reinterpret_cast<const uint32_t*>(rows[0]), kRowBytes / 4, columns, units, out);
  switch (unit_bytes) {
    case 1:
      return interleave<uint8_t>(rows, columns, units, out);
    case 2:
      return interleave<uint16_t>(rows, columns, units, out);
    default:
      return interleave<uint32_t>(rows, columns, units, out);
  }
}

void pack_panel(const GemmPlan& plan, const GemmSpec& spec, const Source& source, int64_t panel, char* packed) {
  const Level& level = *plan.level;
  const int columns = level.panel;
  int64_t row_of[kMaxPanel];  // -1: padding
  float scale[kMaxPanel];
  Narrowing narrowing[kMaxPanel];
  const bool given = elem_of(source.dtype) == plan.w_stored, pairs = plan.unit == Unit::u8s8;
  for (int j = 0; j < columns; ++j) {
    row_of[j] = gemm_detail::row_of(plan, spec, panel, j);
    scale[j] = 1.f;
    if (!plan.has_scale || row_of[j] < 0) continue;
    if (plan.w_stored == Elem::s16) {
      narrowing[j].bits16 = int16_row(level, source, row_of[j]);
      scale[j] = narrowing[j].bits16->scale;
      continue;
    }
    if (!given || (pairs && level.pairs_in_int16)) {
      const float size = row_size(level, source, row_of[j], pairs);
      if (!given || size > 128) scale[j] = narrowing[j].bits8.emplace(spec.w, size).scale();
    }
    if (source.scale) scale[j] *= source.scale[row_of[j]];
  }
  if (plan.has_scale) std::memcpy(packed + panel * columns * 4, scale, static_cast<size_t>(columns) * 4);

  int32_t sum[kMaxPanel] = {};
  alignas(64) char rows[kMaxPanel][kRowBytes];
  for (int part = 0; part < plan.parts; ++part) {
    const Elem to = part == 0 ? plan.w_stored : Elem::bf16_lo;
    char* out = packed + plan.panels_at() + (panel * plan.parts + part) * plan.stored_part();
    for (int64_t k0 = 0; k0 < spec.k; k0 += kChunk) {
      const int64_t count = std::min(kChunk, spec.k - k0), units = (count + plan.per_unit - 1) / plan.per_unit;
      std::memset(rows, 0, sizeof rows);
      for (int j = 0; j < columns; ++j) {
        if (row_of[j] < 0) continue;
        sum[j] += store_row(level, source, row_of[j], k0, count, to, narrowing[j], rows[j]);
      }
      interleave(level, rows, columns, units, plan.stored_unit(), out);
      out += units * columns * plan.stored_unit();
    }
  }
  if (plan.has_sums) std::memcpy(packed + plan.sums_at() + panel * columns * 4, sum, static_cast<size_t>(columns) * 4);
}

}  // namespace
}  // namespace gemm_detail

void gemm_pack(const GemmSpec& spec, const void* w, DType w_dtype, void* packed, const float* w_scale, Isa level, Stop stop) {
  const gemm_detail::GemmPlan plan = gemm_detail::make_plan(spec, level);
  const gemm_detail::Source source{static_cast<const char*>(w), w_dtype, spec.n, spec.k, w_scale, spec.hadamard};
  parallel_for(plan.panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end && !stopped(stop); ++p) gemm_detail::pack_panel(plan, spec, source, p, static_cast<char*>(packed));
  });
}

}  // namespace vivace::cpu
