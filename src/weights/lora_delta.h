// What one module's tensors in an adapter's file make: the matrix that is added to its weight, without strength.
//
//   LoRA   B A                                  lora_A [r, in], lora_B [out, r] and their other names
//   LoHa   (A1 B1) o (A2 B2), elementwise        hada_w1_a [out, r], hada_w1_b [r, in], hada_w2_a, hada_w2_b
//   LoKr   kron(C, D), each whole or a product   lokr_w1 [a, b] or lokr_w1_a, lokr_w1_b; lokr_w2 [out / a, in / b] or its two
//
// Of a convolution, in is in * kh * kw. With a core T (LyCORIS' Tucker decomposition) a product A B of a convolution is
// W[o, i, y, x] = sum over p, q of A[o, p] T[p, q, y, x] B[q, i], and of LoHa and LoKr the file holds A as [p, o].
//
//   T: lora_mid [r, r, kh, kw]; hada_t1, hada_t2; lokr_t2, of D
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/weight_stack.h"

namespace vivace {

struct LoraDelta {
  enum class Kind : uint8_t { lora, loha, lokr };
  Kind kind = Kind::lora;
  std::vector<StoredTensor> factors;  // lora: B, A; loha: A1, B1, A2, B2; lokr: those of C, those of D; the cores behind them
  size_t first = 1;                   // lokr: how many make C
  size_t cores = 0;
  int64_t rank = 0;  // that alpha is divided by; 0: alpha says nothing, as for two whole matrices
  int64_t rows = 0, columns = 0;
};

// What the file holds under the names that begin with `base`; nullopt: nothing. Throws UserError naming the tensors: one of several is missing,
// shapes do not fit each other, a form that is not supported.
std::optional<LoraDelta> find_delta(const std::shared_ptr<const WeightOrigins>& file, const std::string& base);
// "lora_B" [8, 4] and "lora_A" [4, 6], for messages.
std::string factors_text(const LoraDelta& delta);
// Its rows [begin, end), float32, of its factors' nodes, times `strength` [1].
Value build_delta(Builder& b, const LoraDelta& delta, std::span<const Value> factors, Value strength, int64_t begin, int64_t end);

}  // namespace vivace
