#include "backends/cpu/kernels/gemm/strassen.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/parallel.h"

namespace vivace::cpu::gemm_detail {
namespace {

// One block, or two of which the second is added or subtracted.
struct Block {
  int row, column;
};
struct Terms {
  int count;
  bool minus;
  Block block[2];
};
constexpr Terms one(int r, int c) { return {1, false, {{r, c}}}; }
constexpr Terms sum(int r0, int c0, int r1, int c1) { return {2, false, {{r0, c0}, {r1, c1}}}; }
constexpr Terms difference(int r0, int c0, int r1, int c1) { return {2, true, {{r0, c0}, {r1, c1}}}; }

// A's columns and W's rows are halves of K. To each block of `c` the product is added, or from it subtracted.
struct Product {
  Terms a, w, c;
};
constexpr Product kProducts[kStrassenProducts] = {
    {sum(0, 0, 1, 1), sum(0, 0, 1, 1), sum(0, 0, 1, 1)},  {sum(1, 0, 1, 1), one(0, 0), difference(1, 0, 1, 1)},
    {one(0, 0), difference(0, 1, 1, 1), sum(0, 1, 1, 1)}, {one(1, 1), difference(1, 0, 0, 0), sum(0, 0, 1, 0)},
    {sum(0, 0, 0, 1), one(1, 1), difference(0, 1, 0, 0)}, {difference(1, 0, 0, 0), sum(0, 0, 0, 1), one(1, 1)},
    {difference(0, 1, 1, 1), sum(1, 0, 1, 1), one(0, 0)}};

// Pairs of tiles and pairs of panels, [first, last).
struct Area {
  int64_t row0, row1, column0, column1;
};

struct Run : Problem {
  const Blocking& blocking;
  RowTiles tiles;

  int64_t half() const { return plan.units / 2; }
  int64_t tile_floats() const { return plan.tile_rows * plan.level->panel; }
  const char* weights(int64_t pair, const Block& block, int64_t unit) const {
    return panels + (pair * 2 + block.column) * plan.read_part() + (block.row * half() + unit) * plan.level->panel * plan.read_unit();
  }
  void pack_a(int64_t pair, const Terms& terms, int64_t unit, int64_t units, char* to) const;
  void multiply(const Area& area, int64_t a_first, int64_t a_pairs, const char* packed_a, char* scratch) const;
};

// One sum of blocks, [units][rows]. Where the second tile of a pair has a row less, its last row is taken twice: what comes of it is not stored.
void Run::pack_a(int64_t pair, const Terms& terms, int64_t unit, int64_t units, char* to) const {
  constexpr int64_t kUnits = 64;
  uint32_t sums[kMaxTileRows][kUnits];
  const int64_t size = elem_size(plan.a_given);
  const int rows = tiles.rows(pair * 2);
  const CombineFn combine = plan.level->combine[static_cast<int>(plan.a_given)][static_cast<int>(plan.a_used)];
  for (int64_t u0 = 0; u0 < units; u0 += kUnits) {
    const int64_t some = std::min(kUnits, units - u0);
    for (int r = 0; r < rows; ++r) {
      const void* from[2];
      for (int t = 0; t < terms.count; ++t) {
        const int64_t tile = pair * 2 + terms.block[t].row;
        from[t] =
            a + (tiles.first(tile) + std::min(r, tiles.rows(tile) - 1)) * lda + (terms.block[t].column * half() + unit + u0) * plan.per_unit * size;
      }
      combine(from, terms.count, terms.minus, sums[r], some * plan.per_unit);
    }
    plan.level->interleave(sums[0], kUnits, rows, some, to);
    to += rows * some * 4;
  }
}

// packed_a: the sums of the pairs of tiles [a_first, a_first + a_pairs).
void Run::multiply(const Area& area, int64_t a_first, int64_t a_pairs, const char* packed_a, char* scratch) const {
  const Level& level = *plan.level;
  const int64_t across = area.column1 - area.column0, square = 4 * tile_floats(), w_bytes = blocking.units * level.panel * 4;
  float* const sums = reinterpret_cast<float*>(scratch);
  char* packed_w = scratch + (blocking.tiles * blocking.panels) * tile_floats() * 4;
  const CombineFn combine = level.combine[static_cast<int>(plan.w_stored)][static_cast<int>(plan.w_used)];
  std::memset(sums, 0, static_cast<size_t>((area.row1 - area.row0) * across * square) * sizeof(float));
  for (int64_t u0 = 0; u0 < half(); u0 += blocking.units) {
    const int64_t units = std::min(blocking.units, half() - u0);
    for (int i = 0; i < kStrassenProducts; ++i) {
      const auto& [of_a, of_w, of_c] = kProducts[i];
      for (int64_t j = 0; j < across; ++j) {
        const void* from[2];
        for (int t = 0; t < of_w.count; ++t) from[t] = weights(area.column0 + j, of_w.block[t], u0);
        combine(from, of_w.count, of_w.minus, packed_w + j * w_bytes, units * level.panel * plan.per_unit);
      }
      const char* sums_a = packed_a + (u0 * kStrassenProducts + i * units) * a_pairs * plan.tile_rows * 4;
      float* c = sums;
      for (int64_t g = area.row0; g < area.row1; ++g) {
        const AddProductFn add_product = level.add_product[spec.integers()][tiles.rows(g * 2)];
        for (int64_t j = 0; j < across; ++j, c += square) {
          float* to[2];
          for (int t = 0; t < of_c.count; ++t) to[t] = c + (of_c.block[t].row * 2 + of_c.block[t].column) * tile_floats();
          add_product(sums_a + (g - a_first) * units * plan.tile_rows * 4, units, packed_w + j * w_bytes, to, of_c.count, of_c.minus);
        }
      }
    }
  }
  const float* c = sums;
  for (int64_t g = area.row0; g < area.row1; ++g)
    for (int64_t j = area.column0; j < area.column1; ++j)
      for (int block = 0; block < 4; ++block, c += tile_floats()) {
        const int64_t tile = g * 2 + block / 2;
        finish_tile(c, tiles.first(tile), tiles.rows(tile), j * 2 + block % 2);
      }
}

}  // namespace

void strassen_gemm(const Problem& problem, const PlannedGemm& planned, char* workspace, Stop stop) {
  const Blocking& blocking = planned.blocking;
  const WorkspaceLayout& layout = planned.layout;
  const Run run{problem, blocking, RowTiles(problem.m, problem.plan.tile_rows, 2)};
  const int64_t tile_bytes = problem.plan.tile_rows * 4, half = run.half(), pairs = run.tiles.count / 2,
                at_once = layout.strassen_a / (kStrassenProducts * half * tile_bytes);
  const int64_t columns = problem.plan.panels / 2, down = blocking.tiles / 2, across = blocking.panels / 2,
                column_blocks = (columns + across - 1) / across;
  char* packed_a = workspace + layout.shared() - layout.strassen_a;
  for (int64_t first = 0; first < pairs && !stopped(stop); first += at_once) {
    const int64_t a_pairs = std::min(at_once, pairs - first), row_blocks = (a_pairs + down - 1) / down;
    parallel_for(a_pairs * kStrassenProducts, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t p = i / a_pairs, pair = i % a_pairs;
        for (int64_t u0 = 0; u0 < half; u0 += blocking.units) {
          const int64_t units = std::min(blocking.units, half - u0);
          run.pack_a(first + pair, kProducts[p].a, u0, units,
                     packed_a + ((u0 * kStrassenProducts + p * units) * a_pairs + pair * units) * tile_bytes);
        }
      }
    });
    const int64_t tasks = row_blocks * column_blocks;
    std::atomic<int64_t> next{0};
    parallel_threads([&](int thread, int) {
      if (thread >= planned.threads) return;
      char* scratch = workspace + layout.shared() + thread * layout.per_thread();
      for (int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks && !stopped(stop);) {
        const int64_t row0 = first + t % row_blocks * down, column0 = t / row_blocks * across;
        run.multiply({row0, std::min(first + a_pairs, row0 + down), column0, std::min(columns, column0 + across)}, first, a_pairs, packed_a, scratch);
      }
    });
  }
}

}  // namespace vivace::cpu::gemm_detail
