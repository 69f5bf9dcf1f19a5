#include "backends/cuda/kernels/attention.h"

#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr int kMostFeatures = 512;

int rounded_up(int n, int to) { return (n + to - 1) / to * to; }

// A block's share of the work for heads of up to `head` features: what fits into shared memory and registers.
struct FlashTile {
  int head, slice, warps, keys, stages;
};
FlashTile tile_for(const AttentionArguments& a) {
  const int head = rounded_up(a.head_size, 16), slice = rounded_up(a.value_size, 16);
  if (head <= 128) return {head, slice, 4, 64, 2};
  if (head <= 256) return {head, slice <= 128 ? slice : 128, 4, 32, 2};
  return {head, slice <= 128 ? slice : 128, 2, 32, 1};
}
unsigned shared_bytes(const FlashTile& t) {
  const int head = 2 * t.head + 16, slice = 2 * t.slice + 16;
  return static_cast<unsigned>(t.warps * 16 * head + t.stages * t.keys * (head + slice));
}

bool is_aligned(const AttentionArguments& a) {
  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  for (long long n :
       {a.q_image, a.k_image, a.v_image, a.q_row, a.k_row, a.v_row, static_cast<long long>(a.head_size), static_cast<long long>(a.value_size)})
    if (n % 8) return false;
  return address(a.q) && address(a.k) && address(a.v);
}

}  // namespace

std::string refuse_attention(const AttentionArguments& a) {
  if (a.head_size > kMostFeatures) return cat("heads of ", a.head_size, " features, at most ", kMostFeatures);
  if (a.value_size > a.head_size) return cat("values of ", a.value_size, " features, more than the keys' ", a.head_size);
  return "";
}

Call<AttentionArguments> make_attention(const AttentionArguments& a, int64_t images, DType dtype, bool plain) {
  const auto heads = static_cast<unsigned>(a.heads), count = static_cast<unsigned>(images);
  if (plain || dtype == DType::float32) {
    constexpr int kWarps = 4, kEach = 4;
    const int head = rounded_up(a.head_size, 32);
    return {{.source = "attention_plain.cuh",
             .function = cat("attention_plain<", type_name(dtype), ", ", head, ">"),
             .arguments = "AttentionArguments",
             .grid = {blocks_for(a.queries, kWarps * kEach), heads, count},
             .block = kWarps * 32,
             .shared = static_cast<unsigned>(4 * (kWarps * kEach * head + 32 * (head + 1) + kWarps * kEach * 32))},
            a};
  }
  const FlashTile t = tile_for(a);
  return {{.source = "attention.cuh",
           .function = cat("attention<", type_name(dtype), ", ", t.head, ", ", t.slice, ", ", t.keys, ", ", t.stages, ", ",
                           is_aligned(a) ? "true" : "false", ">"),
           .arguments = "AttentionArguments",
           .grid = {blocks_for(a.queries, t.warps * 16), heads, count * blocks_for(a.value_size, t.slice)},
           .block = static_cast<unsigned>(t.warps * 32),
           .shared = shared_bytes(t)},
          a};
}

}  // namespace vivace::cuda
