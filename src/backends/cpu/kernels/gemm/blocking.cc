#include <algorithm>
#include <initializer_list>

#include "backends/cpu/kernels/gemm/plan.h"
#include "backends/cpu/kernels/gemm/strassen.h"

namespace vivace::cpu {
namespace gemm_detail {
namespace {

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }

// The grid of tasks, none larger than b's, that keeps `threads` threads busy for the shortest time. What counts beside an even share: how often W and
// A travel from memory or the shared cache, since many threads get far fewer bytes there than their products could use.
void cut_into_tasks(const GemmPlan& plan, const GemmSpec& spec, int64_t m, int threads, Blocking& b) {
  constexpr int64_t kBytesACycle = 4;     // to one of 16 threads (measured on a Xeon with AMX: 8 GB/s at 2 GHz)
  constexpr int64_t kOwnCache = 1 << 20;  // an A of that size stays in a thread's second cache
  const int64_t tiles = RowTiles(m, plan.tile_rows).count, product = plan.level->unit_cycles[static_cast<int>(plan.unit)];
  const int64_t panel = plan.level->panel * plan.read_unit() / kBytesACycle;
  const bool stays = !b.pack_a && m * spec.k * elem_size(plan.a_given) <= kOwnCache;
  const int64_t row_tile = stays ? 0 : plan.tile_rows * 4 / kBytesACycle;
  int64_t best = INT64_MAX;
  const Blocking most = b;
  for (int64_t down = 1; down <= most.tiles; ++down) {
    for (int64_t across = 1; across <= most.panels; ++across) {
      const int64_t turns = div_up(div_up(tiles, down) * div_up(plan.panels, across), threads);
      const int64_t cycles = turns * (down * across * product + across * panel + down * row_tile);
      if (cycles < best) best = cycles, b.tiles = down, b.panels = across;
    }
  }
}

// Pairs of tiles and of panels. The sums of C, 88 tiles of 4 panels, fit the second cache beside a block of W.
Blocking resolve_strassen(const GemmPlan& plan, int64_t m, int threads, const GemmBlocking& wanted) {
  const int64_t tiles = RowTiles(m, plan.tile_rows, 2).count, half = plan.units / 2;
  Blocking b{};
  b.tiles = std::min(tiles, round_up(wanted.tiles > 0 ? wanted.tiles : 88, 2));
  b.panels = std::min(plan.panels, round_up(wanted.panels > 0 ? wanted.panels : 4, 2));
  if (wanted.tiles <= 0 && wanted.panels <= 0) {
    const auto tasks = [&] { return div_up(tiles, b.tiles) * div_up(plan.panels, b.panels); };
    if (tasks() < 16 * threads) b.panels = 2;
    while (tasks() < 4 * threads && b.tiles > 22) b.tiles = round_up(b.tiles / 2, 2);
    b.tiles = round_up(div_up(tiles, div_up(tiles, b.tiles)), 2);
  }
  b.units = std::min(half, round_up(div_up(half, div_up(half, wanted.units > 0 ? wanted.units : 1280)), 16));
  return b;
}

}  // namespace

Blocking resolve_blocking(const GemmPlan& plan, const GemmSpec& spec, int64_t m, int threads, const GemmBlocking& wanted) {
  if (spec.uses_strassen(m)) return resolve_strassen(plan, m, threads, wanted);
  const int64_t tiles = std::max<int64_t>(1, RowTiles(m, plan.tile_rows).count);
  Blocking b{};
  const bool readable = plan.a_given == plan.a_used && plan.parts == 1 && (plan.quantize_a || spec.k % plan.per_unit == 0);
  // Rows a multiple of 4 KiB apart share one set of the first cache (8 ways): a tile of 14 of them evicts itself.
  const bool conflicting = spec.k * elem_size(plan.a_given) % 4096 == 0 && plan.tile_rows > 8 && m > 8;
  b.pack_a = wanted.pack_a || !readable || conflicting;
  // A's block and a panel share the second cache. The more panels, the less often A is packed; the more tiles, the less often W is decoded: most
  // of all where that means blocks.
  b.tiles = std::clamp<int64_t>(wanted.tiles > 0 ? wanted.tiles : plan.blocks ? 64 : plan.decodes() ? 16 : 8, 1, tiles);
  b.panels = std::clamp<int64_t>(wanted.panels > 0 ? wanted.panels : b.pack_a ? 20 : 8, 1, plan.panels);
  b.tile_outer = wanted.tile_outer;
  if (wanted.tiles <= 0 && wanted.panels <= 0) {
    // With the tiles outside, C and the residual are met a row of panels at a time, which their memory likes better than a column of tiles. A product
    // that outruns memory wants the panels outside: the next one then travels while all tiles pass over this one.
    b.tile_outer = plan.tile_rows <= 16;
    // Several tasks a thread, so that the last one to finish keeps nobody waiting for long.
    if (div_up(tiles, b.tiles) * div_up(plan.panels, b.panels) < 6 * threads) cut_into_tasks(plan, spec, m, threads, b);
    // Tasks of nearly equal size.
    b.tiles = div_up(tiles, div_up(tiles, b.tiles)), b.panels = div_up(plan.panels, div_up(plan.panels, b.panels));
  }
  // Blocks of K of nearly equal length, multiples of a cache line of the packed A.
  constexpr int64_t kWholePanel = 1280;  // units, 160 KiB: a second visit of the sums costs more than a panel that comes from the second cache
  const int64_t few = plan.level->few_units[static_cast<int>(plan.unit)];
  const int64_t wanted_units = wanted.units > 0 ? wanted.units : few > 0 && b.tiles >= 4 ? few : kWholePanel;
  b.units = std::min(plan.units, round_up(div_up(plan.units, div_up(plan.units, wanted_units)), 16));
  if (plan.blocks) b.units = std::min(plan.units, round_up(b.units, plan.blocks->values / plan.per_unit));
  b.tile_outer = b.tile_outer && !plan.decodes();
  return b;
}

WorkspaceLayout workspace_layout(const GemmPlan& plan, const GemmSpec& spec, int64_t m, const Blocking& b) {
  const int64_t tile_bytes = static_cast<int64_t>(plan.tile_rows) * plan.level->panel * 4;
  WorkspaceLayout layout{};
  if (plan.quantize_a)
    layout.quantized = round_up(m * plan.quantized_stride(), 64), layout.scales = round_up(m * static_cast<int64_t>(sizeof(RowScale)), 64);
  if (plan.decode_first) layout.decoded = round_up(plan.panels * plan.used_part(), 64);
  if (spec.rows_per_gate > 0) layout.gates = round_up(div_up(m, spec.rows_per_gate) * 2 * plan.padded_n() * 4, 64);
  if (spec.separate_epilogue) layout.all_sums = RowTiles(m, plan.tile_rows).count * plan.panels * tile_bytes;
  if (spec.uses_strassen(m)) {
    // A's sums, in equal parts that stay in a shared cache, but of enough rows to be worth the sums of W.
    constexpr int64_t kSharedCache = 4 << 20, kRows = 256;
    const int64_t pairs = RowTiles(m, plan.tile_rows, 2).count / 2, pair_bytes = kStrassenProducts * plan.tile_rows * plan.units / 2 * 4;
    const int64_t at_once = std::max(kSharedCache / pair_bytes, div_up(kRows, 2 * plan.tile_rows));
    layout.strassen_a = div_up(pairs, div_up(pairs, at_once)) * pair_bytes;
    layout.sums = round_up(b.tiles * b.panels * tile_bytes, 64);
    layout.b = b.panels / 2 * b.units * plan.level->panel * 4;
    return layout;
  }
  // With one block of K a tile is finished at once; otherwise all tiles of the task wait for the next block.
  layout.sums = round_up(b.units < plan.units ? b.tiles * b.panels * tile_bytes : tile_bytes, 64);
  // 64 bytes more than a row needs: rows a power of two apart would share the sets of the cache.
  layout.a_stride = b.units * 4 + 64;
  if (b.pack_a) layout.a = round_up(b.tiles * plan.tile_rows * plan.parts * layout.a_stride, 64);
  if (plan.decodes()) layout.b = round_up(b.units * plan.level->panel * 4, 64);
  return layout;
}

}  // namespace gemm_detail

using namespace gemm_detail;

namespace {

GemmBlocking given(const Blocking& b) {
  return {static_cast<int>(b.tiles), static_cast<int>(b.panels), static_cast<int>(b.units), b.tile_outer, b.pack_a};
}

}  // namespace

size_t gemm_workspace_bytes(const GemmSpec& spec, int64_t m, int threads, const GemmBlocking& blocking) {
  return Gemm(spec, m, isa(), threads, blocking).workspace_bytes();
}

GemmBlocking gemm_default_blocking(const GemmSpec& spec, int64_t m, Isa level, int threads) {
  return given(resolve_blocking(make_plan(spec, level), spec, m, threads, {}));
}

std::vector<GemmBlocking> gemm_blocking_candidates(const GemmSpec& spec, int64_t m, Isa level, int threads) {
  const GemmPlan plan = make_plan(spec, level);
  std::vector<GemmBlocking> candidates{gemm_default_blocking(spec, m, level, threads)};
  const auto add = [&](const GemmBlocking& wanted) {
    const GemmBlocking c = given(resolve_blocking(plan, spec, m, threads, wanted));
    if (std::find(candidates.begin(), candidates.end(), c) == candidates.end()) candidates.push_back(c);
  };
  if (spec.uses_strassen(m)) {
    for (int units : {320, 640, 1280})
      for (auto [tiles, panels] : {std::pair{44, 2}, {44, 4}, {44, 8}, {88, 2}, {88, 4}, {88, 8}})
        add({.tiles = tiles, .panels = panels, .units = units});
    return candidates;
  }
  for (int units : {192, 320, 640, 1280}) {
    for (auto [tiles, panels] : {std::pair{2, 10}, {4, 5}, {4, 20}, {8, 2}, {8, 10}, {8, 20}, {16, 5}, {16, 10}, {32, 4}}) {
      for (bool tile_outer : {false, true}) {
        for (bool pack_a : {false, true}) add({tiles, panels, units, tile_outer, pack_a});
      }
    }
  }
  return candidates;
}

}  // namespace vivace::cpu
