#include "backends/cpu/kernels/gemm/strassen.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/parallel.h"

namespace vivace::cpu::gemm_detail {
namespace {

// One block, or two of which the second may be subtracted.
struct Block {
  int row, column;
};
struct Terms {
  int count;
  unsigned minus;  // bit 1: the second
  Block block[2];
};
constexpr Terms one(int r, int c) { return {1, 0, {{r, c}, {r, c}}}; }
constexpr Terms sum(int r0, int c0, int r1, int c1) { return {2, 0, {{r0, c0}, {r1, c1}}}; }
constexpr Terms difference(int r0, int c0, int r1, int c1) { return {2, 2, {{r0, c0}, {r1, c1}}}; }

// A's columns and W's rows are halves of K. To each block of `c` the product is added, or from it subtracted.
struct Product {
  Terms a, w, c;
};
constexpr Product kProducts[kStrassenProducts] = {{sum(0, 0, 1, 1), sum(0, 0, 1, 1), sum(0, 0, 1, 1)},
                                                  {sum(1, 0, 1, 1), one(0, 0), difference(1, 0, 1, 1)},
                                                  {one(0, 0), difference(0, 1, 1, 1), sum(0, 1, 1, 1)},
                                                  {one(1, 1), difference(1, 0, 0, 0), sum(0, 0, 1, 0)},
                                                  {sum(0, 0, 0, 1), one(1, 1), difference(0, 1, 0, 0)},
                                                  {difference(1, 0, 0, 0), sum(0, 0, 0, 1), one(1, 1)},
                                                  {difference(0, 1, 1, 1), sum(1, 0, 1, 1), one(0, 0)}};

// Pairs of tiles and pairs of panels, [first, last).
struct Area {
  int64_t tile0, tile1, panel0, panel1;
};

struct Run : Problem {
  const Blocking& blocking;
  const WorkspaceLayout& layout;
  RowTiles tiles;

  int64_t half() const { return plan.units / 2; }
  int64_t tile_floats() const { return plan.tile_rows * plan.level->panel; }
  // A's sums of one product and one pair of tiles.
  int64_t sums_bytes() const { return plan.tile_rows * layout.a_stride; }
  const char* weights(int64_t pair, const Block& block, int64_t unit) const {
    return panels + (pair * 2 + block.column) * plan.read_part() + (block.row * half() + unit) * plan.level->panel * plan.read_unit();
  }
  void pack_a(int64_t pair, const Terms& terms, char* to) const;
  void multiply(const Area& area, const char* packed_a, int64_t a_pairs, char* scratch) const;
};

// Where the second tile of a pair has a row less, its last row is taken twice: what comes of it is not stored.
void Run::pack_a(int64_t pair, const Terms& terms, char* to) const {
  const int64_t size = elem_size(plan.a_given), count = half() * plan.per_unit;
  const CombineFn combine = plan.level->combine[static_cast<int>(plan.a_given)][static_cast<int>(plan.a_used)];
  for (int r = 0; r < tiles.rows(pair * 2); ++r, to += layout.a_stride) {
    const void* from[2];
    for (int t = 0; t < 2; ++t) {
      const int64_t tile = pair * 2 + terms.block[t].row;
      from[t] = a + (tiles.first(tile) + std::min(r, tiles.rows(tile) - 1)) * lda + terms.block[t].column * count * size;
    }
    combine(from, terms.count, terms.minus, to, count);
  }
}

// packed_a: A's sums from pair area.tile0 of the first product on; a_pairs: pairs to the next product.
void Run::multiply(const Area& area, const char* packed_a, int64_t a_pairs, char* scratch) const {
  const Level& level = *plan.level;
  const int64_t across = area.panel1 - area.panel0, down = area.tile1 - area.tile0, w_bytes = blocking.units * level.panel * 4;
  float *result = reinterpret_cast<float*>(scratch), *sums = result + tile_floats();
  char* packed_w = scratch + layout.sums;
  const CombineFn combine = level.combine[static_cast<int>(plan.w_stored)][static_cast<int>(plan.w_used)];
  const SpreadFn spread = level.spread[integers()];
  std::memset(sums, 0, static_cast<size_t>(down * across * 4 * tile_floats()) * sizeof(float));
  for (int64_t u0 = 0; u0 < half(); u0 += blocking.units) {
    const int64_t units = std::min(blocking.units, half() - u0);
    for (int i = 0; i < kStrassenProducts; ++i) {
      const auto& [of_a, of_w, of_c] = kProducts[i];
      for (int64_t j = 0; j < across; ++j) {
        const void* from[2];
        for (int t = 0; t < 2; ++t) from[t] = weights(area.panel0 + j, of_w.block[t], u0);
        combine(from, of_w.count, of_w.minus, packed_w + j * w_bytes, units * level.panel * plan.per_unit);
      }
      for (int64_t g = 0; g < down; ++g) {
        const int rows = tiles.rows((area.tile0 + g) * 2);
        const char* from_a = packed_a + (i * a_pairs + g) * sums_bytes() + u0 * 4;
        for (int64_t j = 0; j < across; ++j) {
          level.tile[static_cast<int>(plan.unit)][rows](from_a, layout.a_stride, units, packed_w + j * w_bytes, result, false, {});
          for (int t = 0; t < of_c.count; ++t) {
            const Block& to = of_c.block[t];
            spread(result, sums + ((g * across + j) * 4 + to.row * 2 + to.column) * tile_floats(), of_c.minus >> t & 1, rows * level.panel);
          }
        }
      }
    }
  }
  for (int64_t g = area.tile0; g < area.tile1; ++g)
    for (int64_t j = area.panel0; j < area.panel1; ++j)
      for (int block = 0; block < 4; ++block, sums += tile_floats()) {
        const int64_t tile = g * 2 + block / 2;
        finish(epilogue, sums, tiles.first(tile), tiles.rows(tile), j * 2 + block % 2);
      }
}

}  // namespace

void strassen_gemm(const Problem& problem, const Blocking& blocking, const WorkspaceLayout& layout, char* workspace) {
  const Run run{problem, blocking, layout, RowTiles(problem.m, problem.plan.tile_rows, 2)};
  const int64_t pairs = run.tiles.count / 2, at_once = layout.strassen_a / (run.sums_bytes() * kStrassenProducts), down = blocking.tiles / 2;
  const int64_t panel_pairs = problem.plan.panels / 2, across = blocking.panels / 2, column_blocks = (panel_pairs + across - 1) / across;
  char* packed_a = workspace + layout.shared() - layout.strassen_a;
  for (int64_t first = 0; first < pairs; first += at_once) {
    const int64_t a_pairs = std::min(at_once, pairs - first), row_blocks = (a_pairs + down - 1) / down;
    parallel_for(a_pairs * kStrassenProducts, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run.pack_a(first + i % a_pairs, kProducts[i / a_pairs].a, packed_a + i * run.sums_bytes());
    });
    const int64_t tasks = row_blocks * column_blocks;
    std::atomic<int64_t> next{0};
    parallel_threads([&](int thread, int) {
      char* scratch = workspace + layout.shared() + thread * layout.per_thread();
      for (int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
        const int64_t tile0 = t % row_blocks * down, panel0 = t / row_blocks * across;
        const Area area{first + tile0, first + std::min(a_pairs, tile0 + down), panel0, std::min(panel_pairs, panel0 + across)};
        run.multiply(area, packed_a + tile0 * run.sums_bytes(), a_pairs, scratch);
      }
    });
  }
}

}  // namespace vivace::cpu::gemm_detail
