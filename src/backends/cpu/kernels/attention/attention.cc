#include "backends/cpu/kernels/attention/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numbers>

#include "backends/cpu/kernels/attention/kernels.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// math is float32 at every level; the others use bfloat16 arithmetic where there is any.
const AttentionKernels& kernels(const AttentionShape& s, AttentionKind kind) {
  if (kind == AttentionKind::int8) return avx512_vnni::kAttentionInt8;
  switch (isa()) {
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
std::optional<std::string> refuse_int8(const AttentionShape& s, Isa level) {
  if (auto reason = refuse_any(s)) return reason;
  if (s.mask || s.causal) return "int8 takes no mask, nor a causal one";
  if (level < Isa::avx512_vnni) return "int8 needs AVX-512 VNNI";
  if (s.head_dim > kLargestHead) return "head size " + std::to_string(s.head_dim) + " is above " + std::to_string(kLargestHead);
  return std::nullopt;
}
std::optional<std::string> refuse_other(const AttentionShape& s, Isa) { return refuse_any(s); }

constexpr size_t kCacheBytes = 512 << 10;  // half of the L2 cache of a Zen 4 core

// Both arithmetics count in units of 4 bytes.
size_t head_bytes(const AttentionLayout& l) { return (l.packed_k_head + l.packed_v_head) * 4; }

template <AttentionKind Kind>
size_t packed_bytes(const AttentionShape& s) {
  return static_cast<size_t>(s.batch * s.heads) * head_bytes(kernels(s, Kind).layout(s, Kind, 1));
}

template <AttentionKind Kind>
size_t packed_workspace_bytes(const AttentionShape& s, int threads) {
  // Fewer threads may take larger blocks.
  size_t most = 0;
  for (int n = 1; n <= threads; ++n) most = std::max(most, kernels(s, Kind).layout(s, Kind, n).scratch_bytes * static_cast<size_t>(n));
  return most;
}

template <AttentionKind Kind>
size_t workspace_bytes(const AttentionShape& s, int threads) {
  return packed_bytes<Kind>(s) + packed_workspace_bytes<Kind>(s, threads);
}

template <AttentionKind Kind>
void pack_kv(const AttentionShape& s, const AttentionArgs& args, void* packed) noexcept {
  const AttentionKernels& kernel = kernels(s, Kind);
  const AttentionLayout l = kernel.layout(s, Kind, 1);
  if (kernel.prepare_head)
    parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head)
        kernel.prepare_head(s, args, l, head / s.heads, head % s.heads, static_cast<char*>(packed) + static_cast<size_t>(head) * head_bytes(l));
    });
  // About 16 kB of K a part at least, so that small ones stay on one thread.
  const int64_t grain = std::max<int64_t>(1, 64 / l.head_units);
  parallel_for(s.batch * s.heads * l.panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / l.panels;
      char* k = static_cast<char*>(packed) + static_cast<size_t>(head) * head_bytes(l);
      kernel.pack_panel(s, args, l, head / s.heads, head % s.heads, i % l.panels, k, k + l.packed_k_head * 4);
    }
  });
}

template <AttentionKind Kind>
void run_packed(const AttentionShape& s, const AttentionArgs& args, const void* packed, void* workspace) noexcept {
  const AttentionKernels& kernel = kernels(s, Kind);
  const int pool = omp_in_parallel() ? 1 : num_threads();
  const AttentionLayout l = kernel.layout(s, Kind, pool);
  const int64_t blocks = (s.q_len + l.block_rows - 1) / l.block_rows, tasks = s.batch * s.heads * blocks;
  // Where the keys and values of all heads fit in a core's cache, a thread takes the heads of the same rows one after another, so that rows of Q
  // and the output, which lie head by head in memory, are read and written whole. Otherwise a head's keys and values are used up first.
  const bool heads_inside = static_cast<size_t>(s.heads) * head_bytes(l) <= kCacheBytes;
  const int64_t claim = heads_inside ? std::clamp<int64_t>(tasks / (8 * pool), 1, s.heads) : 1;
  std::atomic<int64_t> next{0};
  parallel_threads([&](int thread, int) {
    void* scratch = static_cast<char*>(workspace) + static_cast<size_t>(thread) * l.scratch_bytes;
    for (int64_t begin; (begin = next.fetch_add(claim, std::memory_order_relaxed)) < tasks;) {
      for (int64_t i = begin; i < std::min(tasks, begin + claim); ++i) {
        const int64_t batch = i / (s.heads * blocks), head = heads_inside ? i % s.heads : i / blocks % s.heads;
        const int64_t in_order = heads_inside ? i / s.heads % blocks : i % blocks;
        // Causal blocks cost more the later they are: begin with those.
        const int64_t block = s.causal ? blocks - 1 - in_order : in_order;
        const int64_t row = s.q_len * block / blocks, rows = s.q_len * (block + 1) / blocks - row;
        const char* k = static_cast<const char*>(packed) + static_cast<size_t>(batch * s.heads + head) * head_bytes(l);
        kernel.run(Kind, {&s, &args, &l, batch, head, row, rows, k, k + l.packed_k_head * 4, scratch});
      }
    }
  });
}

template <AttentionKind Kind>
void run(const AttentionShape& s, const AttentionArgs& args, void* workspace) noexcept {
  pack_kv<Kind>(s, args, workspace);
  run_packed<Kind>(s, args, workspace, static_cast<char*>(workspace) + packed_bytes<Kind>(s));
}

template <AttentionKind Kind>
constexpr AttentionBackend make_backend(std::string_view name, std::optional<std::string> (*refuse)(const AttentionShape&, Isa)) {
  return {name, refuse, workspace_bytes<Kind>, run<Kind>, packed_bytes<Kind>, pack_kv<Kind>, packed_workspace_bytes<Kind>, run_packed<Kind>};
}

constexpr AttentionBackend kBackends[] = {
    make_backend<AttentionKind::int8>("int8", refuse_int8),
    make_backend<AttentionKind::flash>("flash", refuse_flash),
    make_backend<AttentionKind::efficient>("efficient", refuse_other),
    make_backend<AttentionKind::math>("math", refuse_other),
};

}  // namespace

std::span<const AttentionBackend> attention_backends() { return kBackends; }

double attention_int8_error(int64_t head_dim) {
  // The largest of n normal magnitudes is about so large; a step is a part of that, and rounding has 1 / sqrt(12) of a step.
  const auto largest = [](double n) {
    const double root = std::sqrt(2 * std::log(2 * n));
    return root + (0.577 - (std::log(std::log(2 * n)) + std::log(4 * std::numbers::pi)) / 2) / root;
  };
  const auto rounding = [](double largest, double steps) { return largest / steps / std::sqrt(12.); };
  const double of_score = std::sqrt(2.) * rounding(largest(static_cast<double>(head_dim)), 127), of_value = rounding(largest(256), 255);
  return 1.3 * std::hypot(of_score, of_value);
}

}  // namespace vivace::cpu
