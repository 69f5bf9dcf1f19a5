#include "backends/cpu/kernels/attention/attention.h"

#include <algorithm>
#include <atomic>

#include "backends/cpu/kernels/attention/kernels.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// math is float32 at every level; the others use bfloat16 arithmetic where there is any.
const AttentionKernels& kernels(const AttentionShape& s, AttentionKind kind, Isa level) {
  if (kind == AttentionKind::int8) return avx512_vnni::kAttentionInt8;
  if (kind == AttentionKind::int16) {
    if (level == Isa::avx2_vnni) return avx2_vnni::kAttentionInt16;
    return level < Isa::avx512_vnni ? avx2::kAttentionInt16 : avx512_vnni::kAttentionInt16;
  }
  switch (level) {
    case Isa::amx:
      return s.dtype == DType::bfloat16 && kind != AttentionKind::math ? amx::kAttention : avx512::kAttention;
    case Isa::avx512_bf16:
      return s.dtype == DType::bfloat16 && kind != AttentionKind::math ? avx512_bf16::kAttention : avx512::kAttention;
    case Isa::avx512_vnni:
    case Isa::avx512:
      return avx512::kAttention;
    case Isa::avx2_vnni:
    case Isa::avx2:
      return avx2::kAttention;
    default:
      return baseline::kAttention;
  }
}

std::optional<std::string> refuse_any(const AttentionShape& s) {
  if (s.dtype != DType::float32 && s.dtype != DType::bfloat16 && s.dtype != DType::float16) {
    return "dtype " + std::string(dtype_name(s.dtype)) + " is not float32, bfloat16 or float16";
  }
  if (s.batch < 1 || s.heads < 1 || s.q_len < 1 || s.kv_len < 1 || s.head_dim < 1) return "a dimension is below 1";
  return std::nullopt;
}

constexpr int64_t kLargestHead = 512;

std::optional<std::string> refuse_flash(const AttentionShape& s, Isa level) {
  if (auto reason = refuse_any(s)) return reason;
  if (s.mask) return "flash takes no mask (causal only)";
  if (level < Isa::avx2) return "flash needs AVX2";
  if (s.head_dim % 8 != 0) return "head size " + std::to_string(s.head_dim) + " is not a multiple of 8";
  if (s.head_dim > kLargestHead) return "head size " + std::to_string(s.head_dim) + " is above " + std::to_string(kLargestHead);
  return std::nullopt;
}
std::optional<std::string> refuse_integers(const AttentionShape& s, const std::string& which) {
  if (auto reason = refuse_any(s)) return reason;
  if (s.mask || s.causal) return which + " takes no mask, nor a causal one";
  if (s.head_dim > kLargestHead) return "head size " + std::to_string(s.head_dim) + " is above " + std::to_string(kLargestHead);
  return std::nullopt;
}
std::optional<std::string> refuse_int8(const AttentionShape& s, Isa level) {
  if (auto reason = refuse_integers(s, "int8")) return reason;
  if (level < Isa::avx512_vnni) return "int8 needs AVX-512 VNNI";
  return std::nullopt;
}
std::optional<std::string> refuse_int16(const AttentionShape& s, Isa level) {
  if (auto reason = refuse_integers(s, "int16")) return reason;
  if (level < Isa::avx2) return "int16 needs AVX2";
  if (level == Isa::avx512) return "without VNNI AVX-512 has no faster products of int16";
  if (level >= Isa::amx) return "the tiles of AMX multiply bfloat16 faster";
  return std::nullopt;
}
std::optional<std::string> refuse_other(const AttentionShape& s, Isa) { return refuse_any(s); }

constexpr AttentionBackend kBackends[] = {
    {"int8", AttentionKind::int8, "int8", refuse_int8},     {"int16", AttentionKind::int16, "flash", refuse_int16},
    {"flash", AttentionKind::flash, "flash", refuse_flash}, {"efficient", AttentionKind::efficient, "efficient", refuse_other},
    {"math", AttentionKind::math, "math", refuse_other},
};

}  // namespace

// The workspace: the packed keys and values of every head, then a scratch for each thread.
struct PlannedAttention {
  const AttentionKind kind;
  const AttentionShape shape;
  const AttentionKernels& kernels;
  const int threads;
  const AttentionLayout layout;
  const int64_t heads = shape.batch * shape.heads;

  // Both arithmetics count in units of 4 bytes.
  size_t head_bytes() const { return (layout.packed_k_head + layout.packed_v_head) * 4; }
  size_t packed_bytes() const { return static_cast<size_t>(heads) * head_bytes(); }
  void pack(const AttentionArgs& args, char* packed) const noexcept;
  void multiply(const AttentionArgs& args, const char* packed, char* scratches) const noexcept;
};

void PlannedAttention::pack(const AttentionArgs& args, char* packed) const noexcept {
  if (kernels.prepare_head)
    parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end && !stopped(args.stop); ++head)
        kernels.prepare_head(shape, args, layout, head / shape.heads, head % shape.heads, packed + static_cast<size_t>(head) * head_bytes());
    });
  // About 16 kB of K a part at least, so that small ones stay on one thread.
  const int64_t grain = std::max<int64_t>(1, 64 / layout.head_units);
  parallel_for(heads * layout.panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && !stopped(args.stop); ++i) {
      const int64_t head = i / layout.panels;
      char* k = packed + static_cast<size_t>(head) * head_bytes();
      kernels.pack_panel(shape, args, layout, head / shape.heads, head % shape.heads, i % layout.panels, k, k + layout.packed_k_head * 4);
    }
  });
}

void PlannedAttention::multiply(const AttentionArgs& args, const char* packed, char* scratches) const noexcept {
  constexpr size_t kCacheBytes = 512 << 10;  // half of the L2 cache of a Zen 4 core
  const int64_t blocks = (shape.q_len + layout.block_rows - 1) / layout.block_rows, tasks = heads * blocks;
  // Where the keys and values of all heads fit in a core's cache, a thread takes the heads of the same rows one after another, so that rows of Q
  // and the output, which lie head by head in memory, are read and written whole. Otherwise a head's keys and values are used up first.
  const bool heads_inside = static_cast<size_t>(shape.heads) * head_bytes() <= kCacheBytes;
  const int64_t claim = heads_inside ? std::clamp<int64_t>(tasks / (8 * threads), 1, shape.heads) : 1;
  std::atomic<int64_t> next{0};
  parallel_threads([&](int thread, int) {
    if (thread >= threads) return;
    void* scratch = scratches + static_cast<size_t>(thread) * layout.scratch_bytes;
    for (int64_t begin; (begin = next.fetch_add(claim, std::memory_order_relaxed)) < tasks;) {
      for (int64_t i = begin; i < std::min(tasks, begin + claim) && !stopped(args.stop); ++i) {
        const int64_t batch = i / (shape.heads * blocks), head = heads_inside ? i % shape.heads : i / blocks % shape.heads;
        const int64_t in_order = heads_inside ? i / shape.heads % blocks : i % blocks;
        // Causal blocks cost more the later they are: begin with those.
        const int64_t block = shape.causal ? blocks - 1 - in_order : in_order;
        const int64_t row = shape.q_len * block / blocks, rows = shape.q_len * (block + 1) / blocks - row;
        const char* k = packed + static_cast<size_t>(batch * shape.heads + head) * head_bytes();
        kernels.run(kind, {&shape, &args, &layout, batch, head, row, rows, k, k + layout.packed_k_head * 4, scratch});
      }
    }
  });
}

Attention::Attention(AttentionKind kind, const AttentionShape& shape, Isa level, int threads)
    : planned_(new PlannedAttention{kind, shape, kernels(shape, kind, level), threads, kernels(shape, kind, level).layout(shape, kind, threads)}) {}

size_t Attention::workspace_bytes() const {
  return planned_->packed_bytes() + planned_->layout.scratch_bytes * static_cast<size_t>(planned_->threads);
}

void Attention::run(const AttentionArgs& args, void* workspace) const noexcept {
  char* packed = static_cast<char*>(workspace);
  planned_->pack(args, packed);
  planned_->multiply(args, packed, packed + planned_->packed_bytes());
}

std::span<const AttentionBackend> attention_backends() { return kBackends; }

}  // namespace vivace::cpu
