// linear and geglu_linear on the packed GEMM (kernels/gemm/gemm.h).
#include <array>

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/gemm/gemm.h"
#include "base/log.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// The kernels, in order of preference.
enum class Way {
  int16,     // products of int16 (Compute::int16_dynamic), by Strassen's algorithm where that takes the shape and "strassen" of the tuning is not 0:
             // integers lose nothing to it, but its sums may cost what it saves
  strassen,  // what the graph asks for, by Strassen's algorithm
  plain,
};

constexpr std::string_view kStrassen = "strassen";
constexpr size_t kScale = 4;  // of a weight that the checkpoint stores in 8 bits

Compute compute_of(const KernelCall& call) {
  if (call.attrs->text("compute") == "int8_dynamic") return Compute::int8_dynamic;
  if (const std::string& precision = call.attrs->text("matmul_precision"); !precision.empty() && isa() >= Isa::avx512_bf16)
    return precision == "medium" ? Compute::bf16 : Compute::bf16x3;
  return call.in[0]->dtype == DType::bfloat16 ? Compute::bf16 : Compute::f32;
}

bool is_narrow(DType dtype) { return dtype == DType::int8 || dtype == DType::float8_e4m3; }

// How the weight is kept: as narrow as the activations unless the checkpoint or the plan says otherwise.
DType storage_of(const KernelCall& call, Compute compute) {
  if (is_narrow(call.in[1]->dtype)) return call.in[1]->dtype;
  const std::string& wanted = call.attrs->text("weight_storage");
  if (!wanted.empty()) return parse_dtype(wanted);
  if (compute == Compute::int8_dynamic) return DType::int8;
  if (compute == Compute::bf16) return DType::bfloat16;
  // A float16 run keeps its weights in two bytes and decodes them inside the GEMM.
  if (compute == Compute::f32 && call.in[0]->dtype == DType::float16) return DType::float16;
  return DType::float32;
}

template <Way way>
GemmSpec spec_of(const KernelCall& call) {
  const Shape& w = call.in[1]->shape;
  GemmSpec spec{.n = w[0], .k = w[1], .a = call.in[0]->dtype, .c = call.out.dtype, .compute = compute_of(call)};
  spec.w = storage_of(call, spec.compute);
  spec.act = act_of(call.attrs->text("act"));
  spec.geglu = call.op == Op::geglu_linear;
  spec.separate_epilogue = call.attrs->text("epilogue") == "separate";
  spec.separate_decode = call.attrs->text("decode") == "separate";
  if (way == Way::int16) spec.compute = Compute::int16_dynamic;
  spec.strassen = way != Way::plain;
  if (way == Way::int16 && (gemm_refuse(spec, isa()) || tuning_value(call.tuning, kStrassen, 1) == 0)) spec.strassen = false;
  return spec;
}

// Strassen's algorithm trades error for arithmetic: only as far as the plan says it may, and where it saves something.
Refusal refuse_strassen(const KernelCall& call, const GemmSpec& spec) {
  constexpr int64_t kColumns = 1280;
  if (Refusal reason = refuse_error(gemm_strassen_error(spec), call.attrs->real("strassen_error"), "Strassen's algorithm is off for this layer"))
    return reason;
  // Of decoded weights the sums come with the decoding.
  if (spec.w == DType::float32 && spec.n < kColumns)
    return cat("below ", kColumns, " columns of float32 weights the sums of A cost what the products save");
  return std::nullopt;
}

// Products of int16 trade error for arithmetic too.
Refusal refuse_int16(const KernelCall& call, const GemmSpec& spec) {
  if (Refusal reason = refuse_error(gemm_int16_error(spec.k), int16_bound(*call.attrs), "products of int16 are off for this layer")) return reason;
  if (call.has(kScale)) return "the weight is stored in 8 bits";
  if (isa() >= Isa::amx && compute_of(call) != Compute::f32) return "the tiles of AMX multiply bfloat16 faster";
  return std::nullopt;
}

template <Way way>
Refusal refuse(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {3})) return reason;
  if (!call.in[1]->constant) return "the weight is not constant, it cannot be packed once";
  if (!is_floating(call.in[1]->dtype) && !call.has(kScale)) return "the weight is neither floating point nor int8 with scales";
  if (call.has(kScale) && (!call.in[kScale]->constant || call.in[kScale]->dtype != DType::float32))
    return "the weight's scales are not float32 constants";
  if (call.has(2) && call.in[2]->dtype != DType::float32) return "the bias is not float32";
  if (call.has(3) && call.in[3]->dtype != call.out.dtype) return "the residual has another dtype";
  const GemmSpec spec = spec_of<way>(call);
  if (Refusal reason = gemm_refuse(spec, isa())) return reason;
  if (way == Way::int16) return refuse_int16(call, spec);
  if (way == Way::strassen) return refuse_strassen(call, spec);
  return std::nullopt;
}

// The blocking that the tuning text names; 0 for what it leaves out.
GemmBlocking blocking_of(const KernelCall& call) {
  const auto value = [&](std::string_view name) { return tuning_value(call.tuning, name, 0); };
  return {value("tiles"), value("panels"), value("units"), value("tile_outer") != 0, value("pack_a") != 0};
}

std::string tuning_of(const GemmBlocking& b) {
  return cat("tiles=", b.tiles, " panels=", b.panels, " units=", b.units, " tile_outer=", static_cast<int>(b.tile_outer),
             " pack_a=", static_cast<int>(b.pack_a));
}

template <Way way>
std::vector<std::string> variants(const KernelCall& call) {
  std::vector<std::string> texts;
  const GemmSpec spec = spec_of<way>(call);
  if (way == Way::strassen && !spec.uses_strassen(call.in[0]->rows())) return texts;  // those of the plain kernel
  if (way == Way::int16 && spec.uses_strassen(call.in[0]->rows())) texts.push_back(cat(kStrassen, "=0"));
  const std::vector<GemmBlocking> candidates = gemm_blocking_candidates(spec, call.in[0]->rows());
  for (size_t i = 1; i < candidates.size(); ++i) texts.push_back(tuning_of(candidates[i]));  // the first is the default
  return texts;
}

template <Way way>
std::vector<TuningParameter> parameters(const KernelCall& call) {
  const GemmSpec spec = spec_of<way>(call);
  const GemmBlocking b = gemm_default_blocking(spec, call.in[0]->rows());
  if (spec.uses_strassen(call.in[0]->rows()))
    return {{"tiles", {22, 44, 88, 176}, b.tiles}, {"panels", {2, 4, 8, 16}, b.panels}, {"units", {160, 320, 640, 1280}, b.units}};
  return {{"tiles", {1, 2, 4, 8, 16, 32, 64}, b.tiles},
          {"panels", {1, 2, 4, 5, 8, 10, 16, 20, 40}, b.panels},
          {"units", {128, 192, 320, 640, 1280, 2560}, b.units},
          {"tile_outer", {0, 1}, b.tile_outer},
          {"pack_a", {0, 1}, b.pack_a}};
}

template <Way way>
size_t workspace_bytes(const KernelCall& call) {
  return gemm_workspace_bytes(spec_of<way>(call), call.in[0]->rows(), num_threads(), blocking_of(call));
}
template <Way way>
size_t packed_bytes(const KernelCall& call) {
  return gemm_packed_bytes(spec_of<way>(call));
}
template <Way way>
void pack(const KernelCall& call, const void* source, const void* scales, void* packed) {
  gemm_pack(spec_of<way>(call), source, call.in[1]->dtype, packed, static_cast<const float*>(scales));
}

template <Way way>
std::string pack_key(const KernelCall& call) {
  const GemmSpec spec = spec_of<way>(call);
  return cat(isa_name(isa()), ' ', static_cast<int>(spec.compute), ' ', dtype_name(spec.w), spec.geglu ? " geglu" : "");
}

template <Way way>
std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
  GemmCall g{.packed = buffers.in[1],
             .a = buffers.in[0],
             .lda = call.in[0]->row_pitch(),
             .m = call.in[0]->rows(),
             .c = buffers.out,
             .ldc = call.out.row_pitch(),
             .workspace = buffers.workspace};
  if (call.in[0]->dtype == DType::uint8) {
    const RowOutput rows = row_output(*call.in[0], buffers.in[0]);
    g.lda = rows.stride;
    g.a_scale = rows.scale;
  }
  if (call.has(2)) g.epilogue.bias = static_cast<const float*>(buffers.in[2]);
  if (call.has(3)) {
    g.epilogue.residual = buffers.in[3];
    g.epilogue.residual_stride = call.in[3]->row_pitch();
  }
  return bound([gemm = Gemm(spec_of<way>(call), g.m, isa(), num_threads(), blocking_of(call)), g, bad = buffers.bad_value] {
    if (gemm.run(g) != kNoBadRow) bad.report();
  });
}

template <Way way>
constexpr KernelEntry entry(std::string_view name, Op op, std::string_view packed_as = "") {
  return {.name = name,
          .op = op,
          .refuse = refuse<way>,
          .bind = bind<way>,
          .workspace_bytes = workspace_bytes<way>,
          .packed_input = 1,
          .packed_bytes = packed_bytes<way>,
          .pack = pack<way>,
          .pack_key = pack_key<way>,
          .packed_as = packed_as,
          .packed_scales = static_cast<int>(kScale),
          .strided_in = true,
          .strided_out = true,
          .traits = static_cast<uint8_t>(way == Way::int16 ? kInt16Products : 0),
          .parameters = parameters<way>,
          .variants = variants<way>};
}

constexpr std::array kEntries{entry<Way::int16>("gemm_int16", Op::linear),
                              entry<Way::strassen>("gemm_strassen", Op::linear, "gemm"),
                              entry<Way::plain>("gemm", Op::linear),
                              entry<Way::int16>("gemm_geglu_int16", Op::geglu_linear),
                              entry<Way::strassen>("gemm_geglu_strassen", Op::geglu_linear, "gemm_geglu"),
                              entry<Way::plain>("gemm_geglu", Op::geglu_linear)};

}  // namespace

std::span<const KernelEntry> linear_entries() { return kEntries; }

}  // namespace vivace::cpu
