// What a GemmSpec means at one instruction-set level: which product, which stored form, and where things lie in the packed buffer.
#pragma once

#include "backends/cpu/kernels/gemm/gemm.h"
#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::gemm_detail {

struct GemmPlan {
  const Level* level;
  Unit unit;
  int tile_rows;         // of the largest register tile
  int per_unit;          // elements of K in a unit
  Elem a_given, a_used;  // as it comes (after quantisation), as the product takes it
  Elem w_stored, w_used;
  int parts;                      // 2 for bf16x3: high and low bfloat16 parts of A and of W, else 1
  bool quantize_a;                // A comes as floats and bytes or int16 are wanted
  bool has_scale;                 // W has a scale per output channel
  bool has_sums;                  // of W's rows: the products' sums carry them times A's zero
  const BlockFormatInfo* blocks;  // of a W that is stored so; else null
  bool decode_first;              // all of W is decoded into the workspace, where the product then finds it
  int64_t units;                  // of K, rounded up
  int64_t panels;                 // of N, rounded up

  // Whether panels are decoded one by one, between the products.
  bool decodes() const { return w_stored != w_used && !decode_first; }
  int64_t padded_n() const { return panels * level->panel; }
  // Bytes of one unit of one column as stored.
  int64_t stored_unit() const;
  // One part of one panel, as stored and as used.
  int64_t stored_part() const { return units * level->panel * stored_unit(); }
  int64_t used_part() const { return units * level->panel * 4; }
  // Bytes of a unit of a column, and of a part of a panel, where the product's loop finds W.
  int64_t read_unit() const { return decode_first ? 4 : stored_unit(); }
  int64_t read_part() const { return units * level->panel * read_unit(); }
  // Bytes between two rows of an A that is quantised here.
  int64_t quantized_stride() const;
  // The packed buffer: scales (float32), sums (int32), then the panels.
  int64_t sums_at() const { return has_scale ? padded_n() * 4 : 0; }
  int64_t panels_at() const { return sums_at() + (has_sums ? padded_n() * 4 : 0); }
  int64_t packed_bytes() const { return panels_at() + panels * parts * stored_part(); }
};

// The row of W that column j of that panel is; -1 for padding.
int64_t row_of(const GemmPlan& plan, const GemmSpec& spec, int64_t panel, int j);
// Units [unit, unit + units) of a panel of a W in blocks, as the product takes them. They begin with a block.
void decode_blocks(const GemmPlan& plan, const GemmSpec& spec, const char* w, int64_t panel, int64_t unit, int64_t units, char* to);

int64_t elem_size(Elem elem);
Elem elem_of(DType dtype);
// For a spec that gemm_refuse() accepts at that level.
GemmPlan make_plan(const GemmSpec& spec, Isa level);

// M cut into tiles of nearly equal height: none is left with a single row.
struct RowTiles {
  int64_t count, base, longer;
  // `multiple`: of tiles.
  RowTiles(int64_t m, int tile_rows, int multiple = 1)
      : count((m + tile_rows * multiple - 1) / (tile_rows * multiple) * multiple), base(count ? m / count : 0), longer(count ? m % count : 0) {}
  int64_t first(int64_t tile) const { return tile * base + (tile < longer ? tile : longer); }
  int rows(int64_t tile) const { return static_cast<int>(base + (tile < longer)); }
};

// A GemmBlocking with its zeros filled in and its bounds kept.
struct Blocking {
  int64_t tiles, panels, units;
  bool tile_outer, pack_a;
};
Blocking resolve_blocking(const GemmPlan& plan, const GemmSpec& spec, int64_t m, int threads, const GemmBlocking& wanted);

// Where things lie in the workspace, in bytes; all multiples of 64.
struct WorkspaceLayout {
  int64_t quantized, scales, decoded, gates, all_sums, strassen_a;  // sizes of the parts shared by the threads
  int64_t sums, a, b;                                               // sizes of each thread's parts
  int64_t a_stride;                                                 // bytes between two rows of the packed A
  int64_t shared() const { return quantized + scales + decoded + gates + all_sums + strassen_a; }
  int64_t per_thread() const { return sums + a + b; }
};
WorkspaceLayout workspace_layout(const GemmPlan& plan, const GemmSpec& spec, int64_t m, const Blocking& blocking);

struct PlannedGemm {
  GemmSpec spec;
  int64_t m;
  int threads;
  GemmPlan plan;
  Blocking blocking;
  WorkspaceLayout layout;

  PlannedGemm(const GemmSpec& spec, int64_t m, Isa level, int threads, const GemmBlocking& wanted)
      : spec(spec),
        m(m),
        threads(threads),
        plan(make_plan(spec, level)),
        blocking(resolve_blocking(plan, spec, m, threads, wanted)),
        layout(workspace_layout(plan, spec, m, blocking)) {}
  size_t workspace_bytes() const { return static_cast<size_t>(layout.shared() + threads * layout.per_thread()); }
};

// One call, everything found.
struct Problem {
  const GemmPlan& plan;
  const GemmSpec& spec;
  int64_t m;
  const char* a;       // quantised already, where the plan wants that
  int64_t lda;         // bytes
  const char* panels;  // decoded already, where the plan wants that
  EpilogueArgs epilogue;
  EpilogueFn finish;
  const TileFn* tile;
  const float* gated;  // for each gate its scales and biases, [2][padded n], in place of the epilogue's; null: there is none

  // The epilogue of a register tile, gate by gate.
  void finish_tile(const float* sums, int64_t row, int rows, int64_t panel) const;
};

}  // namespace vivace::cpu::gemm_detail
