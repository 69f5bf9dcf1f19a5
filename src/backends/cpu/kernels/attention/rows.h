// One task of attention: a block of query rows of one head against all of its keys, in each of the three ways.
// Only for level.cc (see kernels.h).
#pragma once

#ifdef VIVACE_AMX
#include "backends/cpu/kernels/attention/multiply_amx.h"
#else
#include "backends/cpu/kernels/attention/multiply.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr int64_t kSlabBytes = 64 << 20;  // math's scores, all threads together

inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

// A thread's scratch, in floats and units (both 4 bytes), in this order: Q tiles, weights, output, partial sums, references, scores.
struct ScratchSizes {
  int64_t q, weights, out, sums, references, scores;
  int64_t total() const { return q + weights + out + sums + references + scores; }
};

template <class Op>
ScratchSizes scratch_sizes(const AttentionLayout& l, AttentionKind kind) {
  ScratchSizes s;
  s.q = round_up((l.block_rows + kRows - 1) / kRows * kQueryStep * l.head_units, 16);
  s.weights = round_up(kRows * Op::kWeightStride, 16);
  s.out = round_up(l.block_rows * l.out_columns, 16);
  s.sums = l.block_rows * kLanes;
  s.references = round_up(l.block_rows, 16);
  s.scores = kind == AttentionKind::math ? l.block_rows * l.kv_padded : kRows * kScoreStride;
  return s;
}

template <class Op>
AttentionLayout layout(const AttentionShape& s, AttentionKind kind, int threads) {
  AttentionLayout l{};
  l.head_units = (s.head_dim + Op::kPair - 1) / Op::kPair;
  l.kv_padded = round_up(s.kv_len, kPanel);
  l.panels = l.kv_padded / kPanel;
  l.out_columns = round_up(s.head_dim, kColumnStep);
  l.packed_k_head = static_cast<size_t>(round_up(l.kv_padded * l.head_units, 16));
  l.packed_v_head = static_cast<size_t>(round_up(l.kv_padded / Op::kPair * l.out_columns, 16));
  // Measured with heads of 512 on a Zen 4 core with 1 MB of L2 cache: 128 kB costs a tenth, 256 to 768 kB are alike.
  const int64_t fit = (384 << 10) / ((l.head_units + l.out_columns / Op::kPair) * 4) / kPanel * kPanel;
  l.block_keys = fit < kPanel ? kPanel : min64(fit, kMaxBlockKeys);
  // Six full tiles share each pass over a block of keys, fewer where that leaves threads without work.
  l.block_rows = 6 * kRows;
  while (l.block_rows > kRows && s.batch * s.heads * ((s.q_len + l.block_rows - 1) / l.block_rows) < 4 * threads) l.block_rows -= kRows;
  if (kind == AttentionKind::math) {
    const int64_t rows = kSlabBytes / (4 * threads * l.kv_padded);
    if (rows < l.block_rows) l.block_rows = rows < 1 ? 1 : rows;
  }
  l.scratch_bytes = static_cast<size_t>(round_up(scratch_sizes<Op>(l, kind).total() * 4, 128));
  return l;
}

template <class Op>
struct RowBlock {
  using Unit = typename Op::Unit;

  const AttentionTask& task;
  const AttentionShape& s = *task.shape;
  const AttentionLayout& l = *task.layout;
  const Unit* k = static_cast<const Unit*>(task.packed_k);
  const Unit* v = static_cast<const Unit*>(task.packed_v);
  Unit *q, *weights;
  float *out, *sums, *references, *scores;
  float scale = s.scale * kLog2E;  // exponents are powers of two throughout
  int64_t tiles = (task.rows + kRows - 1) / kRows, tile_rows = task.rows / tiles, longer_tiles = task.rows % tiles;

  RowBlock(const AttentionTask& t, AttentionKind kind) : task(t) {
    const ScratchSizes sizes = scratch_sizes<Op>(l, kind);
    float* p = static_cast<float*>(t.scratch);
    q = reinterpret_cast<Unit*>(p);
    weights = reinterpret_cast<Unit*>(p += sizes.q);
    out = p += sizes.weights;
    sums = p += sizes.out;
    references = p += sizes.sums;
    scores = p += sizes.references;
    load_queries();
  }

  Unit* queries(int64_t tile) const { return q + tile * l.head_units * kQueryStep; }
  int64_t first(int64_t tile) const { return tile * tile_rows + min64(tile, longer_tiles); }
  int64_t length(int64_t tile) const { return tile_rows + (tile < longer_tiles); }
  // Keys that query row r of the block may see, by causality alone.
  int64_t visible(int64_t r) const { return s.causal ? min64(s.kv_len, task.row + r + 1) : s.kv_len; }
  int64_t tile_visible(int64_t tile) const { return visible(first(tile + 1) - 1); }

  void load_queries() {
    const int64_t row_bytes = task.args->q_strides.token * static_cast<int64_t>(element_size(s.dtype));
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const char* rows = token_row(task.args->q, task.args->q_strides, task.batch, task.row + first(tile), s, task.head);
      load_query_tile<Op>(s, rows, row_bytes, length(tile), l.head_units, queries(tile));
    }
  }

  // body(tile, first key, keys, whether they are the tile's last): every tile passes over a block of keys while it is in the cache.
  template <class Body>
  void for_blocks(const Body& body) {
    const int64_t end = tile_visible(tiles - 1);
    for (int64_t key0 = 0; key0 < end; key0 += l.block_keys) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t left = tile_visible(tile) - key0;
        if (left > 0) body(tile, key0, min64(l.block_keys, left), left <= l.block_keys);
      }
    }
  }

  // Unscaled scores of a tile over `keys` keys from a panel on. Half a panel may be left out (and undefined in `to`) where no key is in it.
  void multiply_keys(int64_t tile, int64_t panel, int64_t keys, float* to, int64_t stride) {
    const Unit* b = k + panel * l.head_units * kPanel;
    for (int64_t j = 0; j < keys; j += kPanel, b += l.head_units * kPanel) {
      multiply_key_panel<Op>(length(tile), queries(tile), b, l.head_units, keys - j, to + j, stride);
    }
  }

  // out += weights V for the keys of a block.
  void multiply_values(int64_t tile, int64_t key0, int64_t keys, bool add_to) {
    const int64_t kv_units = l.kv_padded / Op::kPair, unit0 = key0 / Op::kPair;
    for (int64_t group = 0; group < l.out_columns; group += kPanel) {
      const int64_t width = min64(kPanel, l.out_columns - group);
      float* to = out + first(tile) * l.out_columns + group;
      multiply_value_group<Op>(length(tile), weights, v + group * kv_units + unit0 * width, keys, width, to, l.out_columns, add_to);
    }
  }

  // Writes a tile's rows, each divided by its sum of weights. False where a sum or a result is not finite, or a sum is beyond `largest_sum`.
  bool write_tile(int64_t tile, float largest_sum) {
    const DType dtype = s.dtype;
    const int64_t row0 = first(tile), rows = length(tile), head_dim = s.head_dim, columns = l.out_columns;
    const int64_t element = static_cast<int64_t>(element_size(dtype)), stride = task.args->out_strides.token * element;
    char* to = const_cast<char*>(token_row(task.args->out, task.args->out_strides, task.batch, task.row + row0, s, task.head));
    const float *from = out + row0 * columns, *sum_of = sums + row0 * kLanes;
    VF check = Zero();  // stays 0 until something infinite or NaN is multiplied by 0
    bool within = true;
    for (int64_t r = 0; r < rows; ++r, to += stride, from += columns, sum_of += kLanes) {
      const float sum = ReduceSum(LoadU(sum_of));
      within &= sum < largest_sum;
      const VF inverse = Set(sum == 0.f ? 0.f : 1.f / sum);
      int64_t column = 0;
      for (; column + kLanes <= head_dim; column += kLanes) {
        const VF x = LoadU(from + column) * inverse;
        check = MulAdd(x, Zero(), check);
        store_from_float(dtype, to + column * element, x);
      }
      if (column < head_dim) {
        const VF x = LoadU(from + column) * inverse;
        check = MulAdd(x, Zero(), check);
        alignas(64) char buffer[4 * kLanes];
        store_from_float(dtype, buffer, x);
        std::memcpy(to + column * element, buffer, static_cast<size_t>((head_dim - column) * element));
      }
    }
    return within && ReduceSum(check) == 0.f;
  }

  // ---- efficient: exact online softmax -----------------------------------------------------------------------------------------------------

  // Scales the tile's scores over a block of keys, adds the mask and hides what is not visible (-inf); returns nothing, works in place.
  void finish_scores(int64_t r, float* row, int64_t key0, int64_t keys) {
    const int64_t see = visible(r) - key0, padded = round_up(keys, kPanel);
    if (!s.mask) {
      for (int64_t j = 0; j < padded; j += kLanes) StoreU(first_lanes(LoadU(row + j) * Set(scale), see - j, -kInfinity), row + j);
      return;
    }
    const AttentionArgs& a = *task.args;
    const float* mask = a.mask + task.batch * a.mask_batch + task.head * a.mask_head + (task.row + r) * a.mask_query;
    for (int64_t j = 0; j < padded; j += kLanes) {
      const VF added = load_padded(DType::float32, mask, key0 + j, s.kv_len);
      StoreU(first_lanes(MulAdd(added, Set(kLog2E), LoadU(row + j) * Set(scale)), see - j, -kInfinity), row + j);
    }
  }

  static float row_max(const float* row, int64_t n) {
    VF m = Set(-kInfinity);
    for (int64_t j = 0; j < n; j += kLanes) m = Max(m, LoadU(row + j));
    return ReduceMax(m);
  }

  template <bool Precise>
  void online_row(int64_t r, float* row, int64_t keys, bool first_block, Unit* to) {
    const int64_t padded = round_up(keys, kPanel);
    float* sum = sums + r * kLanes;
    const float before = first_block ? -kInfinity : references[r];
    const float seen = row_max(row, padded), reference = seen > before ? seen : before;
    references[r] = reference;
    // Nothing to see so far: any finite base makes the weights 0.
    const VF base = Set(reference == -kInfinity ? 0.f : -reference);
    VF total = Zero();
    for (int64_t j = 0; j < padded; j += kPanel) {
      const VF x = exp2<Precise>(LoadU(row + j) + base), y = exp2<Precise>(LoadU(row + j + kLanes) + base);
      total = total + (x + y);
      Op::store_weights(to + j / Op::kPair, x, y);
    }
    if (first_block) return StoreU(total, sum);
    if (reference == before) return StoreU(LoadU(sum) + total, sum);
    const VF shrink = exp2<true>(Set(before - reference));
    StoreU(MulAdd(LoadU(sum), shrink, total), sum);
    float* o = out + r * l.out_columns;
    for (int64_t column = 0; column < l.out_columns; column += kLanes) StoreU(LoadU(o + column) * shrink, o + column);
  }

  template <bool Precise>
  void efficient_tile(int64_t tile, int64_t key0, int64_t keys) {
    multiply_keys(tile, key0 / kPanel, keys, scores, kScoreStride);
    for (int64_t r = 0; r < length(tile); ++r) {
      finish_scores(first(tile) + r, scores + r * kScoreStride, key0, keys);
      online_row<Precise>(first(tile) + r, scores + r * kScoreStride, keys, key0 == 0, weights + r * Op::kWeightStride);
    }
    multiply_values(tile, key0, keys, key0 != 0);
  }

  template <bool Precise>
  void efficient() {
    for_blocks([&](int64_t tile, int64_t key0, int64_t keys, bool last) {
      efficient_tile<Precise>(tile, key0, keys);
      if (last) write_tile(tile, kInfinity);
    });
  }

  // ---- flash: the reference of a row is a guess --------------------------------------------------------------------------------------------

  // The guess is the largest of the row's first scores. It only has to be near enough to the largest of all that no weight overflows, so later
  // blocks never rescale the output. Rows where it was not near enough are found by their sum and done again, exactly.
  static constexpr int64_t kGuessKeys = 64;
  static constexpr float kLargestSum = 0x1p64f;  // leaves as much room again for the values

  // Expects the scores of the tile's first `keys` keys.
  void guess_references(int64_t tile, int64_t keys) {
    const int64_t row0 = first(tile), end = row0 + length(tile);
    for (int64_t r = row0; r < end; ++r) {
      const float* row = scores + (r - row0) * kScoreStride;
      const int64_t see = min64(keys, visible(r)), whole = see & ~int64_t{kLanes - 1};
      VF largest = Set(-kInfinity);
      for (int64_t j = 0; j < whole; j += kLanes) largest = Max(largest, LoadU(row + j) * Set(scale));
      if (whole < see) largest = Max(largest, first_lanes(LoadU(row + whole) * Set(scale), see - whole, -kInfinity));
      references[r] = ReduceMax(largest);
      StoreU(Zero(), sums + r * kLanes);
    }
  }

  // The weights of `keys` keys from key0 + at on, whose scores are at hand; keys that a row may not see get 0.
  template <bool Precise>
  void weigh_scores(int64_t tile, int64_t key0, int64_t at, int64_t keys) {
    const int64_t row0 = first(tile), rows = length(tile);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t see = min64(keys, visible(row0 + r) - key0 - at);
      const float* row = scores + r * kScoreStride;
      const VF base = Set(-references[row0 + r]);
      const auto weight = [&](int64_t j) { return exp2<Precise>(MulAdd(LoadU(row + j), Set(scale), base)); };
      Unit* to = weights + r * Op::kWeightStride + at / Op::kPair;
      float* partial = sums + (row0 + r) * kLanes;
      VF sum = LoadU(partial);
      int64_t j = 0;
      for (; j + kPanel <= see; j += kPanel) {
        const VF x = weight(j), y = weight(j + kLanes);
        sum = sum + (x + y);
        Op::store_weights(to + j / Op::kPair, x, y);
      }
      for (; j < keys; j += kPanel) {
        const VF x = see > j ? first_lanes(weight(j), see - j, 0.f) : Zero();
        const VF y = see > j + kLanes ? first_lanes(weight(j + kLanes), see - j - kLanes, 0.f) : Zero();
        sum = sum + (x + y);
        Op::store_weights(to + j / Op::kPair, x, y);
      }
      StoreU(sum, partial);
    }
  }

  template <bool Precise>
  void flash_tile(int64_t tile, int64_t key0, int64_t keys) {
    int64_t done = 0;
    if (key0 == 0) {
      // Few keys: all of them, then the guess is exact.
      const int64_t guess = keys <= 2 * kGuessKeys ? keys : min64(kGuessKeys, l.block_keys);
      multiply_keys(tile, 0, guess, scores, kScoreStride);
      guess_references(tile, guess);
      weigh_scores<Precise>(tile, 0, 0, guess);
      done = round_up(guess, kPanel);
    }
    // Panels that every row of the tile sees whole, then those at the end of the keys or on the diagonal.
    const int64_t row0 = first(tile), whole = (min64(visible(row0) - key0, keys) - done) / kPanel;
    if (whole > 0) {
      score_weights_rows<Op, Precise>(length(tile), queries(tile), k + (key0 + done) * l.head_units, l.head_units, whole, scale, references + row0,
                                      sums + row0 * kLanes, weights + done / Op::kPair);
      done += whole * kPanel;
    }
    if (done < keys) {
      multiply_keys(tile, (key0 + done) / kPanel, keys - done, scores, kScoreStride);
      weigh_scores<Precise>(tile, key0, done, keys - done);
    }
    multiply_values(tile, key0, keys, key0 != 0);
  }

  template <bool Precise>
  void flash() {
    for_blocks([&](int64_t tile, int64_t key0, int64_t keys, bool last) {
      flash_tile<Precise>(tile, key0, keys);
      if (!last || write_tile(tile, kLargestSum)) return;
      for (int64_t key = 0; key < tile_visible(tile); key += l.block_keys) {
        efficient_tile<Precise>(tile, key, min64(l.block_keys, tile_visible(tile) - key));
      }
      write_tile(tile, kInfinity);
    });
  }

  // ---- math: Q K^T, softmax, P V -----------------------------------------------------------------------------------------------------------

  void math() {
    const int64_t stride = l.kv_padded;
    for (int64_t key = 0; key < s.kv_len; key += kPanel) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        multiply_keys(tile, key / kPanel, min64(kPanel, s.kv_len - key), scores + first(tile) * stride + key, stride);
      }
    }
    for (int64_t r = 0; r < task.rows; ++r) {
      float* row = scores + r * stride;
      finish_scores(r, row, 0, s.kv_len);
      const float largest = row_max(row, stride);
      const VF base = Set(largest == -kInfinity ? 0.f : -largest);
      VF total = Zero();
      for (int64_t j = 0; j < stride; j += kLanes) {
        const VF x = exp2<true>(LoadU(row + j) + base);
        total = total + x;
        StoreU(x, row + j);
      }
      StoreU(total, sums + r * kLanes);
    }
    for (int64_t key0 = 0; key0 < s.kv_len; key0 += l.block_keys) {
      const int64_t keys = min64(l.block_keys, s.kv_len - key0);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        for (int64_t r = 0; r < length(tile); ++r) {
          std::memcpy(weights + r * Op::kWeightStride, scores + (first(tile) + r) * stride + key0, static_cast<size_t>(round_up(keys, kPanel)) * 4);
        }
        multiply_values(tile, key0, keys, key0 != 0);
      }
    }
    for (int64_t tile = 0; tile < tiles; ++tile) write_tile(tile, kInfinity);
  }
};

template <class Op>
void run_task(AttentionKind kind, const AttentionTask& task) {
  const ProductScope scope;
  RowBlock<Op> block(task, kind);
  const bool precise = task.shape->dtype != DType::bfloat16;
  if constexpr (Op::kPair == 1) {
    if (kind == AttentionKind::math) return block.math();
  }
  if (kind == AttentionKind::flash) return precise ? block.template flash<true>() : block.template flash<false>();
  precise ? block.template efficient<true>() : block.template efficient<false>();
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
