// Scaled dot-product attention on the CPU: out = softmax(scale Q K^T + mask) V, head by head.
//
// Three backends under PyTorch's names, each right on its own, and two with products of integers (integers.h) and exact online softmax over blocks of
// keys between them, which take no mask and no causality; their errors are attention_int8_error() and attention_int16_error():
//   int8       Q K^T in bytes, P V in 16 bits: some four times bfloat16's error. Has to be asked for. AVX-512 VNNI.
//   int16      both in 16 bits: a quarter of bfloat16's error. A flash to those who ask for one, where the error budget allows it. AVX2.
//   flash      one fused pass: the exponential is taken in the registers that hold Q K^T, no score matrix is ever stored. No mask.
//   efficient  memory-efficient: exact online softmax over blocks of keys. Any head size, any additive mask, every instruction set.
//   math       three separate steps (Q K^T, softmax, P V) in float32 through a bounded slab of scores: the plain reference.
//
// bfloat16 runs on AMX tiles or vdpbf16ps where the machine has them (flash, efficient); everything else computes in float32, and float16 is a
// storage type. A row that may see no key at all (mask of -inf) gives zeros, as in PyTorch 2.5 and later. `causal` is PyTorch's is_causal: query i
// sees keys 0..i, counted from the top left whatever the two lengths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "backends/cpu/isa.h"
#include "base/stop.h"
#include "vivace/dtype.h"

namespace vivace::cpu {

struct AttentionShape {
  int64_t batch = 1, heads = 1;
  int64_t q_len = 0, kv_len = 0;  // tokens, 1 or more
  int64_t head_dim = 0;           // the same for queries, keys and values
  DType dtype = float32;          // of q, k, v and out: float32, bfloat16 or float16
  bool causal = false;
  bool mask = false;  // AttentionArgs::mask is given
  float scale = 1.f;  // usually 1 / sqrt(head_dim)
};

// Strides in elements. Head h begins h * head_dim elements into a token, so q, k and v may be slices of one fused row.
struct TokenStrides {
  int64_t batch = 0, token = 0;
};

struct AttentionArgs {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* out = nullptr;
  TokenStrides q_strides, k_strides, v_strides, out_strides;
  const float* mask = nullptr;                            // additive, -inf allowed; the keys of a row are contiguous
  int64_t mask_batch = 0, mask_head = 0, mask_query = 0;  // elements; 0 broadcasts
  Stop stop = nullptr;
};

enum class AttentionKind { int8, int16, flash, efficient, math };

struct AttentionBackend {
  std::string_view name;
  AttentionKind kind;
  std::string_view sdpa;  // what it is asked for by (SDPBackend)
  // The reason why this backend can't take the shape at that level; nothing if it can.
  std::optional<std::string> (*refuse)(const AttentionShape&, Isa);
};

struct PlannedAttention;

// Attention with everything decided: of a shape that the backend does not refuse at that level, on at most so many threads. Immutable; copies share.
class Attention {
 public:
  Attention(AttentionKind kind, const AttentionShape& shape, Isa level, int threads);
  size_t workspace_bytes() const;
  // Allocates nothing. `workspace`: 64-byte aligned.
  void run(const AttentionArgs& args, void* workspace) const noexcept;

 private:
  std::shared_ptr<const PlannedAttention> planned_;
};

// In order of preference: int8, int16, flash, efficient, math. The first that does not refuse and that was asked for is the choice.
std::span<const AttentionBackend> attention_backends();

// The relative RMS error of products of integers, where queries, keys and values are normally distributed and scores have a deviation of 1; that of
// scores grows with them.
double attention_int8_error(int64_t head_dim, int64_t keys);
double attention_int16_error(int64_t head_dim, int64_t keys);

}  // namespace vivace::cpu
