#include "backends/cpu/kernels/gemm/plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/cpu/kernels/norm/quantize.h"
#include "tensor/narrow_weight.h"

namespace vivace::cpu {
namespace gemm_detail {

int64_t elem_size(Elem elem) {
  constexpr std::array<int64_t, kElems> sizes{4, 2, 2, 1, 1, 1, 2, 2, 1};
  return sizes[static_cast<size_t>(elem)];
}

Elem elem_of(DType dtype) {
  switch (dtype) {
    case DType::bfloat16:
      return Elem::bf16;
    case DType::float16:
      return Elem::f16;
    case DType::float8_e4m3:
      return Elem::fp8;
    case DType::int8:
      return Elem::s8;
    case DType::uint8:
      return Elem::u8;
    default:
      return Elem::f32;
  }
}

int64_t GemmPlan::stored_unit() const { return per_unit * elem_size(w_stored); }
int64_t GemmPlan::quantized_stride() const { return (units * per_unit * elem_size(a_given) + 3) / 4 * 4; }

GemmPlan make_plan(const GemmSpec& spec, Isa level) {
  GemmPlan plan{};
  plan.level = find_level(level);
  plan.a_given = elem_of(spec.a), plan.w_stored = elem_of(spec.w), plan.parts = 1;
  plan.has_scale = is_narrow(spec.w);
  if (spec.rows() != DType::float32) plan.quantize_a = spec.a != spec.rows(), plan.a_given = elem_of(spec.rows());
  if (spec.compute == Compute::int16_dynamic) {
    plan.quantize_a = plan.has_scale = true;
    plan.unit = Unit::i16, plan.per_unit = 2, plan.a_given = plan.a_used = plan.w_stored = plan.w_used = Elem::s16;
  } else if (spec.compute == Compute::int8_dynamic) {
    plan.unit = Unit::u8s8, plan.per_unit = 4, plan.a_used = Elem::u8, plan.w_used = Elem::s8, plan.has_sums = true;
  } else if (spec.compute != Compute::f32 && plan.level->tile[static_cast<int>(Unit::bf16)][1]) {
    plan.unit = Unit::bf16, plan.per_unit = 2, plan.a_used = plan.w_used = Elem::bf16;
    if (spec.compute == Compute::bf16x3) plan.parts = 2, plan.w_stored = Elem::bf16;
  } else {
    plan.unit = Unit::f32, plan.per_unit = 1, plan.a_used = plan.w_used = Elem::f32;
  }
  if (spec.blocks) plan.blocks = &block_format_info(*spec.blocks), plan.w_stored = Elem::blocks, plan.has_scale = false;
  plan.tile_rows = plan.level->tile_rows[static_cast<int>(plan.unit)];
  plan.decode_first = spec.separate_decode && plan.w_stored != plan.w_used;
  plan.units = (spec.k + plan.per_unit - 1) / plan.per_unit;
  const int64_t panel_columns = spec.geglu ? plan.level->panel / 2 : plan.level->panel;
  plan.panels = (spec.columns() + panel_columns - 1) / panel_columns;
  return plan;
}

int64_t row_of(const GemmPlan& plan, const GemmSpec& spec, int64_t panel, int j) {
  const int columns = plan.level->panel, half = columns / 2;
  if (!spec.geglu) return panel * columns + j < spec.n ? panel * columns + j : -1;
  const int64_t column = panel * half + j % half;
  return column >= spec.n / 2 ? -1 : j < half ? column : spec.n / 2 + column;
}

}  // namespace gemm_detail

namespace {

// Of a spec that is good otherwise.
std::optional<std::string> refuse_strassen(const GemmSpec& spec, Isa level) {
  const gemm_detail::GemmPlan plan = gemm_detail::make_plan(spec, level);
  if (plan.unit == gemm_detail::Unit::bf16) return "bfloat16 products would round the sums of blocks";
  if (plan.unit == gemm_detail::Unit::u8s8) return "8-bit products cannot hold the sums of blocks";
  if (spec.compute == Compute::float8_dynamic) return "rows of A have scales of their own, so they have no sums";
  if (spec.blocks) return "would decode the blocks of W once for each of its sums";
  if (spec.separate_decode || spec.separate_epilogue) return "decodes W and applies the epilogue inside the GEMM only";
  if (spec.k % 32 != 0) return "needs k to be a multiple of 32, not " + std::to_string(spec.k);
  if (plan.panels % 2 != 0)
    return "needs an even number of panels of " + std::to_string(plan.level->panel) + " columns, not " + std::to_string(plan.panels);
  return std::nullopt;
}

std::optional<std::string> refuse_product(const GemmSpec& spec, Isa level) {
  auto name = [](DType dtype) { return std::string(dtype_name(dtype)); };
  auto is_activation = [](DType dtype) { return dtype == float32 || dtype == bfloat16 || dtype == float16; };
  if (level == Isa::baseline) return "needs AVX2 and FMA";
  if (spec.n < 1 || spec.k < 1) return "needs n and k of at least 1";
  if (!is_activation(spec.c)) return "writes float32, bfloat16 or float16, not " + name(spec.c);
  const bool quantized_a = spec.a == DType::uint8 || spec.a == DType::float8_e4m3;
  if (quantized_a && spec.a != spec.rows()) return "takes a quantised A only with int8_dynamic (uint8) and float8_dynamic (float8_e4m3)";
  if (!quantized_a && !is_activation(spec.a)) return "reads float32, bfloat16, float16 or quantised activations, not " + name(spec.a);
  if (spec.geglu && spec.n % 2 != 0) return "GEGLU needs an even number of weight rows";
  if (spec.geglu && spec.act != Act::gelu && spec.act != Act::gelu_tanh && spec.act != Act::silu) return "gates by gelu, gelu_tanh or silu alone";
  if (spec.rows_per_gate > 0 && (spec.geglu || spec.act != Act::none)) return "has a gate or an activation, not both";
  if (spec.hadamard != 0) {
    const bool fits = spec.hadamard >= 16 && spec.hadamard <= kLargestBlock && (spec.hadamard & (spec.hadamard - 1)) == 0;
    if (spec.compute != Compute::int8_dynamic) return "turns rows for int8_dynamic alone";
    if (!fits || spec.k % spec.hadamard != 0) return "turns blocks of a power of two that divides k, from 16 to " + std::to_string(kLargestBlock);
  }
  if (spec.blocks) {
    const BlockFormatInfo& block = block_format_info(*spec.blocks);
    if (spec.compute != Compute::f32 && spec.compute != Compute::bf16) return "multiplies decoded blocks in float32 or bfloat16 alone";
    if (block.values == 1) return "packs single values of 8 bits";
    if (spec.k % block.values != 0) return "needs rows of whole blocks of " + std::to_string(block.values) + ", not k = " + std::to_string(spec.k);
    if (spec.separate_decode) return "decodes blocks between the products";
    return std::nullopt;
  }
  switch (spec.compute) {
    case Compute::int8_dynamic:
      if (spec.w != DType::int8) return "int8_dynamic needs int8 weights, not " + name(spec.w);
      // 255 * 127 * 65536 is the last power of two below 2^31.
      if (spec.k > 65536) return "int32 sums could overflow beyond k = 65536";
      return std::nullopt;
    case Compute::float8_dynamic:
      if (spec.w != DType::float8_e4m3) return "float8_dynamic needs float8_e4m3 weights, not " + name(spec.w);
      return std::nullopt;
    case Compute::int16_dynamic:
      if (spec.separate_decode) return "decodes no weights";
      if (spec.w != float32 && spec.w != bfloat16 && spec.w != float16) return "stores floating-point weights as int16, not " + name(spec.w);
      return std::nullopt;
    case Compute::bf16x3:
      if (level < Isa::avx512_bf16) return "bf16x3 needs AVX512-BF16; float32 products are faster without it";
      if (spec.a != float32 || spec.w != float32) return "bf16x3 splits float32 activations and weights";
      return std::nullopt;
    case Compute::bf16:
      if (spec.w == float32) return "bfloat16 products of float32 weights: store them as bfloat16";
      break;
    case Compute::f32:
      break;
  }
  if (!is_activation(spec.w) && spec.w != DType::float8_e4m3 && spec.w != DType::int8) return "stores no weights as " + name(spec.w);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> gemm_refuse(const GemmSpec& spec, Isa level) {
  const std::optional<std::string> reason = refuse_product(spec, level);
  return reason || !spec.strassen ? reason : refuse_strassen(spec, level);
}

double gemm_strassen_error(const GemmSpec& spec) {
  constexpr int64_t kSummed = 2560;  // of K at once, at most; a sum of such sums adds little
  return spec.integers() ? 0 : 3e-8 * std::sqrt(static_cast<double>(std::min<int64_t>(spec.k, kSummed)));
}

double gemm_int16_error(int64_t k) {
  // Either row's rounding has 1 / sqrt(12) of a step, of which there are kNorm / sqrt(k) in a standard deviation.
  constexpr double kNorm = 46000, kStep = 0.29;
  return std::sqrt(2.0) * kStep / kNorm * std::sqrt(static_cast<double>(k));
}

size_t gemm_packed_bytes(const GemmSpec& spec, Isa level) { return static_cast<size_t>(gemm_detail::make_plan(spec, level).packed_bytes()); }

}  // namespace vivace::cpu
