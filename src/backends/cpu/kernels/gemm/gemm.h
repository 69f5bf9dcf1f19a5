// The linear layer on a CPU: C[m, columns] = epilogue(A[m, k] x W[n, k]^T), with W packed once and everything that follows the product done while
// the result is still in the first cache.
//
// Order of the epilogue: c = act(product * scales + bias) * gate + residual; with geglu: c = value * act(gate) + residual.
// The sums run in float32 (int32 for int8_dynamic and int16_dynamic); the result is rounded to `c` once, at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "base/stop.h"
#include "tensor/block_format.h"
#include "vivace/dtype.h"

namespace vivace::cpu {

// How the products are formed.
enum class Compute : uint8_t {
  f32,     // float32 factors
  bf16,    // bfloat16 factors; below avx512_bf16 as float32 products of the stored values
  bf16x3,  // float32 factors split into two bfloat16 parts, three products: matmul precision "high"
  // Every row of A quantised at run time (quantize.h), W per output channel with room for pairs (largest_pair() of narrow_weight.h), int32 sums.
  // Where VNNI is missing, a row of W that is given as int8 without that room is rounded again.
  int8_dynamic,
  // The same with int16 (int16_row.h), whose error is gemm_int16_error(): below the rounding of bfloat16 results, like TF32's. A product takes two of
  // them, which is twice the arithmetic of float32, and with VNNI as much as the fastest vectors of bfloat16.
  int16_dynamic,
  // Rows of A and of W as float8_e4m3 (quantize.h, narrow_weight.h), multiplied as bfloat16 where the level does and as float32 elsewhere: either is
  // exact. Float32 sums, then the scales of both.
  float8_dynamic,
};

inline constexpr int64_t kStrassenRows = 128;

struct GemmSpec {
  int64_t n = 0, k = 0;
  // float32, bfloat16 or float16. With int8_dynamic also uint8, with float8_dynamic float8_e4m3, as quantize.h makes them, with their scales in
  // GemmCall::a_scale.
  DType a = bfloat16;
  DType c = bfloat16;  // float32, bfloat16 or float16; the residual's too
  Compute compute = Compute::bf16;
  // W as stored: float32, bfloat16, float16, float8_e4m3 or int8 (the last two with a scale per output channel). What the product cannot take
  // directly is decoded panel by panel inside the GEMM. int8 with f32 or bf16 is weight-only quantisation (the guide's use_mixed_mm). With
  // int16_dynamic it is stored as int16 with a scale per output channel, and this is not read.
  DType w = bfloat16;
  // W as it is stored in blocks of several values, whole blocks a row: bytes [n, ..], which GemmCall::packed is then, without packing. Panels are
  // decoded between the products, to the factors that the product takes; f32 and bf16 only. `w` is not read.
  std::optional<BlockFormat> blocks{};
  // Of int8_dynamic: the rows of A and of W are turned in blocks of so many (hadamard_blocks of quantize.h) before they are quantised, which leaves
  // their products as they are; an A that is given quantised is turned already. A power of two that divides k, 16 to kLargestBlock; 0: not.
  int64_t hadamard = 0;
  Act act = Act::none;
  // W's rows are [value: n/2 | gate: n/2], as Diffusers' GEGLU has them ("hidden, gate = chunk(2)"); C has n/2 columns. act: gelu, gelu_tanh or silu.
  bool geglu = false;
  // Above 0: Epilogue::gate is given, a vector for so many rows of C each. Without act and geglu.
  int64_t rows_per_gate = 0;
  // For measuring what fusion gains: all of W is decoded before the product, all sums are stored before the epilogue.
  bool separate_decode = false, separate_epilogue = false;
  // By Strassen's algorithm (gemm/strassen.h), from kStrassenRows rows of A on; below, W's sums cost what the products save. An eighth less products,
  // the error of gemm_strassen_error(). A NaN or an infinity in A then also reaches the rows of the tile beside its own.
  bool strassen = false;

  // What rows of A are quantised to; float32: they are not.
  DType rows() const {
    return compute == Compute::int8_dynamic ? DType::uint8 : compute == Compute::float8_dynamic ? DType::float8_e4m3 : DType::float32;
  }
  bool integers() const { return compute == Compute::int8_dynamic || compute == Compute::int16_dynamic; }
  bool uses_strassen(int64_t m) const { return strassen && m >= kStrassenRows; }
  int64_t columns() const { return geglu ? n / 2 : n; }
  bool operator==(const GemmSpec&) const = default;
};

struct Epilogue {
  const float* bias = nullptr;     // [n], in the order of W's rows
  const void* residual = nullptr;  // [m, columns] of dtype c; may be C itself
  int64_t residual_stride = 0;     // elements between two rows
  const float* gate = nullptr;     // [m / rows_per_gate, columns]
  int64_t gate_stride = 0;         // elements between two of them
};

// The loop nest (of Strassen's algorithm only the first three). A tile is the rows that one register tile covers (14 with AVX-512, 6 with AVX2, one
// less for 8 bits without VNNI), a panel its columns (32, 16), a unit four bytes of K (1 float32, 2 bfloat16, 4 int8). 0 anywhere: the default for
// the shape.
struct GemmBlocking {
  int tiles = 0;            // tiles of one task
  int panels = 0;           // panels of one task
  int units = 0;            // units of K between two visits of the accumulators
  bool tile_outer = false;  // false: a panel stays while the tiles pass; true: the other way round (the default, but not with a decoded W)
  bool pack_a = false;      // copy A's block first, even when the product could read it in place
  bool operator==(const GemmBlocking&) const = default;
};

struct GemmCall {
  const void* packed = nullptr;
  const void* a = nullptr;
  int64_t lda = 0;                    // elements between two rows
  const RowScale* a_scale = nullptr;  // [m], for an A that is quantised already
  int64_t m = 0;
  void* c = nullptr;  // must not overlap A
  int64_t ldc = 0;
  Epilogue epilogue{};
  void* workspace = nullptr;  // gemm_workspace_bytes(), 64-byte aligned
  GemmBlocking blocking{};
  Stop stop = nullptr;
};

// nullopt: gemm() does this at that level. Otherwise the reason why not, a sentence for --explain.
std::optional<std::string> gemm_refuse(const GemmSpec& spec, Isa level);

// Not for blocks. The packed form belongs to the level at which it was made: pack, size and run at the same one. It is the same for every `a`, `c`,
// `act`, `strassen`.
size_t gemm_packed_bytes(const GemmSpec& spec, Isa level = isa());
// w: row-major [n, k] of any floating dtype; or int8 with w_scale [n] where spec.w is int8. `packed`: 64-byte aligned (huge pages help).
// float8_e4m3 and int8 storage: a scale a row, times w_scale or 1; a W that is of that type already keeps its bits (int8 but for what int8_dynamic
// says). Parallel; allocates. The rule of the rounding is tensor/narrow_weight.h.
void gemm_pack(const GemmSpec& spec, const void* w, DType w_dtype, void* packed, const float* w_scale = nullptr, Isa level = isa(),
               Stop stop = nullptr);

namespace gemm_detail {
struct PlannedGemm;
}

// The product with everything decided: that many rows of A, at that level, on at most so many threads. Immutable; copies share.
class Gemm {
 public:
  Gemm(const GemmSpec& spec, int64_t m, Isa level, int threads, const GemmBlocking& blocking = {});
  size_t workspace_bytes() const;
  // Allocates nothing; `call.m` and `call.blocking` are those of the plan. Returns the first row of A that int8_dynamic or float8_dynamic found to
  // hold a NaN or an infinity while quantising it (those rows of C are NaN), otherwise -1: other computations pass such values on as IEEE arithmetic
  // does, int16_dynamic as NaN.
  int64_t run(const GemmCall& call) const noexcept;

 private:
  std::shared_ptr<const gemm_detail::PlannedGemm> planned_;
};

// What runs once: planned at the call, for isa() and num_threads().
int64_t gemm(const GemmSpec& spec, const GemmCall& call);
// Bytes of workspace for it.
size_t gemm_workspace_bytes(const GemmSpec& spec, int64_t m, int threads, const GemmBlocking& blocking = {});

// The relative RMS error of the products' sums, at most, by Strassen's algorithm. 0 for integers, which it keeps.
double gemm_strassen_error(const GemmSpec& spec);
// The relative RMS error of sums of `k` products of int16_dynamic, where the rows of A and W are normally distributed; at most three times that for
// any others, relative to the product of the rows' norms. (Rounding to bfloat16 has 1.6e-3, products of TF32 3e-4.)
double gemm_int16_error(int64_t k);

// What a zero GemmBlocking stands for, and what is worth timing for this shape, that first.
GemmBlocking gemm_default_blocking(const GemmSpec& spec, int64_t m, Isa level, int threads);
std::vector<GemmBlocking> gemm_blocking_candidates(const GemmSpec& spec, int64_t m, Isa level, int threads);

}  // namespace vivace::cpu
