#include "backends/cpu/kernels/gemm/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "backends/cpu/kernels/gemm/plan.h"
#include "backends/cpu/kernels/gemm/strassen.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

using namespace gemm_detail;

// Everything the threads share while they work through the tasks.
struct Run : Problem {
  Blocking blocking;
  WorkspaceLayout layout;
  RowTiles tiles;
  float* all_sums;  // of every tile, where the epilogue is a pass of its own; else null

  int64_t m_blocks() const { return (tiles.count + blocking.tiles - 1) / blocking.tiles; }
  int64_t n_blocks() const { return (plan.panels + blocking.panels - 1) / blocking.panels; }

  // Whether products are told what to fetch while they run (ahead.h): with the tiles outside, no panel is met tile after tile.
  bool fetches_ahead() const { return !blocking.tile_outer && plan.parts == 1 && !plan.blocks; }
  // `after`: the task that this thread does next, where it fetches ahead.
  void task(int64_t index, int64_t after, char* scratch) const;
  const char* weights(int64_t panel, int part, int64_t unit) const {
    return panels + (panel * plan.parts + part) * plan.read_part() + unit * plan.level->panel * plan.read_unit();
  }
  void pack_a(int64_t first_tile, int64_t last_tile, int64_t unit, int64_t units, char* out) const;
  void prefetch(int64_t row, int rows, int64_t panel) const;
};

// Rows of the tiles in the product's element, layout.a_stride apart; the parts of a row follow each other. The last unit is filled with zeros.
void Run::pack_a(int64_t first_tile, int64_t last_tile, int64_t unit, int64_t units, char* out) const {
  const int64_t k0 = unit * plan.per_unit, count = std::min(spec.k - k0, units * plan.per_unit);
  const int64_t from_size = elem_size(plan.a_given), to_size = elem_size(plan.a_used);
  const ConvertFn* convert = plan.level->convert[static_cast<int>(plan.a_given)];
  for (int64_t t = first_tile; t < last_tile; ++t) {
    for (int part = 0; part < plan.parts; ++part) {
      const ConvertFn fn = convert[static_cast<int>(part == 0 ? plan.a_used : Elem::bf16_lo)];
      char* to = out + ((t - first_tile) * plan.parts + part) * plan.tile_rows * layout.a_stride;
      const char* from = a + tiles.first(t) * lda + k0 * from_size;
      for (int r = 0; r < tiles.rows(t); ++r, to += layout.a_stride, from += lda) {
        fn(from, to, count);
        std::memset(to + count * to_size, 0, static_cast<size_t>(units * 4 - count * to_size));
      }
    }
  }
}

// C's lines, and the residual's, travel while the last block of K is multiplied.
void Run::prefetch(int64_t row, int rows, int64_t panel) const {
  const int64_t size = epilogue.c_dtype == DType::float32 ? 4 : 2, width = (spec.geglu ? plan.level->panel / 2 : plan.level->panel) * size;
  const int64_t column = panel * width;
  for (int64_t r = row; r < row + rows; ++r) {
    const char* c = static_cast<const char*>(epilogue.c) + r * epilogue.ldc * size + column;
    for (int64_t i = 0; i < width; i += 64) __builtin_prefetch(c + i, 1);
    if (!epilogue.residual || epilogue.residual == epilogue.c) continue;
    const char* residual = static_cast<const char*>(epilogue.residual) + r * epilogue.residual_stride * size + column;
    for (int64_t i = 0; i < width; i += 64) __builtin_prefetch(residual + i, 0);
  }
}

void Run::task(int64_t index, int64_t after, char* scratch) const {
  const int64_t m_block = index % m_blocks(), n_block = index / m_blocks();
  const int64_t t0 = m_block * blocking.tiles, t1 = std::min(tiles.count, t0 + blocking.tiles);
  const int64_t p0 = n_block * blocking.panels, p1 = std::min(plan.panels, p0 + blocking.panels);
  const int64_t panel = plan.level->panel, tile_floats = plan.tile_rows * panel;
  float* sums = reinterpret_cast<float*>(scratch);
  char *packed_a = scratch + layout.sums, *decoded = packed_a + layout.a;
  const bool single = blocking.units >= plan.units;
  // high x high, high x low, low x high; the fourth is below the rounding of the others
  constexpr int kParts[3][2] = {{0, 0}, {0, 1}, {1, 0}};
  const int products = plan.parts == 2 ? 3 : 1;

  for (int64_t u0 = 0; u0 < plan.units; u0 += blocking.units) {
    const int64_t units = std::min(blocking.units, plan.units - u0);
    const bool last = u0 + units >= plan.units;
    if (blocking.pack_a) pack_a(t0, t1, u0, units, packed_a);

    // Every tile fetches its share of the weights that come after this panel's: the next panel's, the next block's of K, or the next task's.
    const int64_t next_panel = last ? after / m_blocks() * blocking.panels : p0, next_unit = last ? 0 : u0 + units;
    const bool reads_next = next_panel < plan.panels && (next_panel != p0 || !last);
    const int64_t share = (units * panel * plan.read_unit() / 64 + t1 - t0 - 1) / (t1 - t0);
    const int lines = static_cast<int>((share * 16 + units - 1) / units);
    auto ahead = [&](int64_t t, int64_t p) {
      if (!fetches_ahead()) return Ahead{};
      const char* from = p + 1 < p1 ? weights(p + 1, 0, u0) : reads_next ? weights(next_panel, 0, next_unit) : nullptr;
      return from ? Ahead{from + (t - t0) * share * 64, lines} : Ahead{};
    };
    auto one = [&](int64_t t, int64_t p) {
      const int rows = tiles.rows(t);
      const int64_t row = tiles.first(t);
      float* sum = all_sums ? all_sums + (t * plan.panels + p) * tile_floats : single ? sums : sums + ((t - t0) * (p1 - p0) + (p - p0)) * tile_floats;
      if (last) prefetch(row, rows, p);
      for (int i = 0; i < products; ++i) {
        const auto [a_part, b_part] = kParts[i];
        const char* from = blocking.pack_a ? packed_a + ((t - t0) * plan.parts + a_part) * plan.tile_rows * layout.a_stride : a + row * lda + u0 * 4;
        const char* b = plan.decodes() ? decoded : weights(p, b_part, u0);
        tile[rows](from, blocking.pack_a ? layout.a_stride : lda, units, b, sum, u0 > 0 || i > 0, ahead(t, p));
      }
      if (last && !all_sums) finish_tile(sum, row, rows, p);
    };
    if (blocking.tile_outer) {
      for (int64_t t = t0; t < t1; ++t) {
        for (int64_t p = p0; p < p1; ++p) one(t, p);
      }
    } else {
      for (int64_t p = p0; p < p1; ++p) {
        if (plan.blocks) {
          decode_blocks(plan, spec, panels, p, u0, units, decoded);
        } else if (plan.decodes()) {
          plan.level->convert[static_cast<int>(plan.w_stored)][static_cast<int>(plan.w_used)](weights(p, 0, u0), decoded,
                                                                                              units * panel * plan.per_unit);
        }
        for (int64_t t = t0; t < t1; ++t) one(t, p);
      }
    }
  }
}

// Rows of A as int16, to [m][stride / 2] with zeros behind the k'th.
void quantize_int16(const Level& level, Elem given, const char* a, int64_t lda, int64_t m, int64_t k, char* to, int64_t stride, RowScale* scales) {
  const int e = static_cast<int>(given);
  parallel_for(m, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      RowSize size;
      level.measure[e](a + r * lda, k, size);
      const Int16Row row(size, k);
      int16_t* out = reinterpret_cast<int16_t*>(to + r * stride);
      level.to_int16[e](a + r * lda, row.inverse, out, k);
      std::memset(out + k, 0, static_cast<size_t>(stride - k * 2));
      scales[r] = {row.scale, 0};
    }
  });
}

// All of W, in the product's element.
void decode_panels(const GemmPlan& plan, const char* panels, char* decoded) {
  const ConvertFn convert = plan.level->convert[static_cast<int>(plan.w_stored)][static_cast<int>(plan.w_used)];
  parallel_for(plan.panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      convert(panels + p * plan.stored_part(), decoded + p * plan.used_part(), plan.units * plan.level->panel * plan.per_unit);
  });
}

// The epilogue of every tile, from the stored sums.
void finish_all(const Run& run) {
  const int64_t tile_floats = run.plan.tile_rows * run.plan.level->panel;
  parallel_for(run.tiles.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t p = 0; p < run.plan.panels; ++p)
        run.finish_tile(run.all_sums + (t * run.plan.panels + p) * tile_floats, run.tiles.first(t), run.tiles.rows(t), p);
  });
}

// A gate is a factor of a column's scale and bias: (sum * scale + bias) * gate.
void fold_gates(const GemmPlan& plan, const GemmSpec& spec, int64_t m, const EpilogueArgs& args, const Epilogue& epilogue, float* to) {
  for (int64_t row = 0; row < m; row += spec.rows_per_gate, to += 2 * plan.padded_n()) {
    const float* gate = epilogue.gate + row / spec.rows_per_gate * epilogue.gate_stride;
    float *scale = to, *bias = to + plan.padded_n();
    for (int64_t j = 0; j < spec.n; ++j) {
      scale[j] = (args.w_scale ? args.w_scale[j] : 1.f) * gate[j];
      bias[j] = args.bias ? args.bias[j] * gate[j] : 0.f;
    }
    std::fill(scale + spec.n, bias, 0.f);
  }
}

}  // namespace

void gemm_detail::Problem::finish_tile(const float* sums, int64_t row, int rows, int64_t panel) const {
  if (!gated) return finish(epilogue, sums, row, rows, panel);
  for (const int64_t end = row + rows; row < end;) {
    const int64_t gate = row / spec.rows_per_gate, stop = std::min(end, (gate + 1) * spec.rows_per_gate);
    EpilogueArgs args = epilogue;
    args.w_scale = gated + gate * 2 * plan.padded_n();
    args.bias = args.w_scale + plan.padded_n();
    finish(args, sums, row, static_cast<int>(stop - row), panel);
    sums += (stop - row) * plan.level->panel;
    row = stop;
  }
}

Gemm::Gemm(const GemmSpec& spec, int64_t m, Isa level, int threads, const GemmBlocking& blocking)
    : planned_(std::make_shared<PlannedGemm>(spec, m, level, threads, blocking)) {}

size_t Gemm::workspace_bytes() const { return planned_->workspace_bytes(); }

int64_t gemm(const GemmSpec& spec, const GemmCall& call) { return Gemm(spec, call.m, isa(), num_threads(), call.blocking).run(call); }

int64_t Gemm::run(const GemmCall& call) const noexcept {
  const GemmSpec& spec = planned_->spec;
  const GemmPlan& plan = planned_->plan;
  const WorkspaceLayout& layout = planned_->layout;
  const int64_t m = planned_->m;
  if (m <= 0) return kNoBadRow;
  char* workspace = static_cast<char*>(call.workspace);
  const char *a = static_cast<const char*>(call.a), *packed = static_cast<const char*>(call.packed);
  int64_t lda = call.lda * static_cast<int64_t>(dtype_size(spec.a));
  const RowScale* a_scale = call.a_scale;
  int64_t bad_row = kNoBadRow;
  if (plan.quantize_a) {
    auto* const scales = reinterpret_cast<RowScale*>(workspace + layout.quantized);
    const int64_t stride = plan.quantized_stride();
    if (spec.compute == Compute::int16_dynamic) {
      quantize_int16(*plan.level, elem_of(spec.a), a, lda, m, spec.k, workspace, stride, scales);
    } else {
      bad_row = quantize_rows({call.a, spec.a, call.lda}, m, spec.k, {workspace, spec.rows(), stride, scales, spec.hadamard});
    }
    a = workspace, lda = stride, a_scale = scales;
  }
  const char* panels = packed + plan.panels_at();
  if (plan.decode_first) {
    char* decoded = workspace + layout.quantized + layout.scales;
    decode_panels(plan, panels, decoded);
    panels = decoded;
  }
  const Epilogue& e = call.epilogue;
  const EpilogueArgs args{call.c,
                          call.ldc,
                          spec.c,
                          spec.columns(),
                          e.bias,
                          e.residual,
                          e.residual_stride,
                          plan.has_scale ? reinterpret_cast<const float*>(packed) : nullptr,
                          plan.has_sums ? reinterpret_cast<const int32_t*>(packed + plan.sums_at()) : nullptr,
                          a_scale};
  float* gated = nullptr;
  if (spec.rows_per_gate > 0) {
    gated = reinterpret_cast<float*>(workspace + layout.quantized + layout.scales + layout.decoded);
    fold_gates(plan, spec, m, args, e, gated);
  }
  Problem problem{plan, spec, m, a, lda, panels, args, nullptr, plan.level->tile[static_cast<int>(plan.unit)], gated};
  problem.finish = (spec.geglu ? plan.level->gated : plan.level->epilogue)[spec.integers()][static_cast<int>(spec.act)];
  if (spec.uses_strassen(m)) {
    strassen_gemm(problem, *planned_, workspace, call.stop);
    return bad_row;
  }
  const Run run{problem, planned_->blocking, layout, RowTiles(m, plan.tile_rows),
                spec.separate_epilogue ? reinterpret_cast<float*>(workspace + layout.shared() - layout.all_sums) : nullptr};
  std::atomic<int64_t> next{0};
  const int64_t tasks = run.m_blocks() * run.n_blocks();
  parallel_threads([&](int thread, int running) {
    if (thread >= planned_->threads) return;
    const int threads = std::min(running, planned_->threads);
    char* scratch = workspace + layout.shared() + thread * layout.per_thread();
    if (plan.level->enter) plan.level->enter();
    // A thread takes its next task one ahead, to fetch its weights, as long as there are enough for all.
    for (int64_t t = next.fetch_add(1, std::memory_order_relaxed); t < tasks && !stopped(call.stop);) {
      const bool plenty = run.fetches_ahead() && next.load(std::memory_order_relaxed) + threads < tasks;
      const int64_t after = plenty ? next.fetch_add(1, std::memory_order_relaxed) : tasks;
      run.task(t, after, scratch);
      t = plenty ? after : next.fetch_add(1, std::memory_order_relaxed);
    }
    if (plan.level->leave) plan.level->leave();
  });
  if (run.all_sums) finish_all(run);
  return bad_row;
}

}  // namespace vivace::cpu
