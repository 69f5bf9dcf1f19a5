// linear and geglu_linear on the packed GEMM (kernels/gemm/gemm.h).
#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/gemm/gemm.h"
#include "base/log.h"
#include "ops/infer.h"
#include "tensor/narrow_weight.h"

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
constexpr size_t kScale = 4, kGate = 5;  // the scale of a weight that the checkpoint stores in 8 bits

Compute compute_of(const KernelCall& call, Isa level) {
  if (const std::string& compute = call.attrs->text("compute"); !compute.empty())
    return compute == "float8_dynamic" ? Compute::float8_dynamic : Compute::int8_dynamic;
  const bool blocks = call.attrs->has("blocks");  // whose values are not split in two
  if (const std::string& precision = call.attrs->text("matmul_precision"); !precision.empty() && level >= Isa::avx512_bf16)
    return precision == "medium" ? Compute::bf16 : blocks ? Compute::f32 : Compute::bf16x3;
  return call.in[0]->dtype == DType::bfloat16 ? Compute::bf16 : Compute::f32;
}

// How the weight is kept: as narrow as the activations unless the checkpoint or the plan says otherwise.
DType storage_of(const KernelCall& call, Compute compute) {
  if (is_narrow(call.in[1]->dtype)) return call.in[1]->dtype;
  const std::string& wanted = call.attrs->text("weight_storage");
  if (!wanted.empty()) return parse_dtype(wanted);
  if (compute == Compute::int8_dynamic) return DType::int8;
  if (compute == Compute::float8_dynamic) return DType::float8_e4m3;
  if (compute == Compute::bf16) return DType::bfloat16;
  // A float16 run keeps its weights in two bytes and decodes them inside the GEMM.
  if (compute == Compute::f32 && call.in[0]->dtype == DType::float16) return DType::float16;
  return DType::float32;
}

GemmSpec gemm_spec(Way way, const KernelCall& call, Isa level) {
  const Shape& w = call.in[1]->shape;
  GemmSpec spec{.n = w[0], .k = weight_features(*call.attrs, w), .a = call.in[0]->dtype, .c = call.out.dtype, .compute = compute_of(call, level)};
  spec.w = storage_of(call, spec.compute);
  spec.hadamard = call.attrs->integer("hadamard");
  if (call.attrs->has("blocks")) spec.blocks = find_block_format(call.attrs->text("blocks"));
  spec.act = act_of(call.attrs->text("act"));
  spec.geglu = call.op == Op::geglu_linear;
  if (spec.geglu && spec.act == Act::none) spec.act = Act::gelu;
  if (call.has(kGate)) spec.rows_per_gate = call.in[0]->rows() / call.in[kGate]->shape[0];
  spec.separate_epilogue = call.attrs->text("epilogue") == "separate";
  spec.separate_decode = call.attrs->text("decode") == "separate";
  if (way == Way::int16) spec.compute = Compute::int16_dynamic;
  spec.strassen = way != Way::plain;
  if (way == Way::int16 && (gemm_refuse(spec, level) || tuning_value(call.tuning, kStrassen, 1) == 0)) spec.strassen = false;
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
Refusal refuse_int16(const KernelCall& call, const GemmSpec& spec, Isa level) {
  if (Refusal reason = refuse_error(gemm_int16_error(spec.k), int16_bound(*call.attrs), "products of int16 are off for this layer")) return reason;
  if (call.has(kScale)) return "the weight is stored in 8 bits";
  if (level >= Isa::amx && compute_of(call, level) != Compute::f32) return "the tiles of AMX multiply bfloat16 faster";
  return std::nullopt;
}

// The blocking that the tuning text names; 0 for what it leaves out.
GemmBlocking blocking_of(std::string_view tuning) {
  const auto value = [&](std::string_view name) { return tuning_value(tuning, name, 0); };
  return {value("tiles"), value("panels"), value("units"), value("tile_outer") != 0, value("pack_a") != 0};
}

std::string tuning_of(const GemmBlocking& b) {
  return cat("tiles=", b.tiles, " panels=", b.panels, " units=", b.units, " tile_outer=", static_cast<int>(b.tile_outer),
             " pack_a=", static_cast<int>(b.pack_a));
}

std::string_view suffix_of(Way way) { return way == Way::int16 ? "_int16" : way == Way::strassen ? "_strassen" : ""; }

class GemmOffer final : public Offer {
 public:
  GemmOffer(Way way, const KernelCall& call, const GemmSpec& spec, const Target& target)
      : way_(way),
        spec_(spec),
        x_(*call.in[0]),
        weight_(call.in[1]->dtype),
        level_(level_of(target)),
        threads_(target.threads),
        ldc_(call.out.row_pitch()),
        residual_stride_(call.has(3) ? call.in[3]->row_pitch() : 0),
        gate_stride_(call.has(kGate) ? call.in[kGate]->row_pitch() : 0),
        gemm_(spec, x_.rows(), level_, threads_, blocking_of(call.tuning)) {
    workspace_bytes = gemm_.workspace_bytes();
    if (spec.blocks) return;
    // What Strassen's algorithm reads is packed as for the plain product.
    packed = {
        .input = 1,
        .scales = call.has(kScale) ? static_cast<int>(kScale) : -1,
        .bytes = gemm_packed_bytes(spec, level_),
        .key = cat(spec.geglu ? "gemm_geglu" : "gemm", way == Way::int16 ? "_int16" : "", '(', isa_name(level_), ' ', static_cast<int>(spec.compute),
                   ' ', dtype_name(spec.w), spec.geglu ? " geglu" : "", spec.hadamard > 0 ? cat(" hadamard ", spec.hadamard) : "", ')')};
  }

  void pack(const void* source, const void* scales, void* to, Stream& stream) const override {
    gemm_pack(spec_, source, weight_, to, static_cast<const float*>(scales), level_, &stream.stop);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    GemmCall g{.packed = buffers.in[1],
               .a = buffers.in[0],
               .lda = x_.row_pitch(),
               .m = x_.rows(),
               .c = buffers.out,
               .ldc = ldc_,
               .workspace = buffers.workspace};
    if (is_quantized_rows(x_.dtype)) {
      const RowOutput rows = row_output(x_, buffers.in[0]);
      g.lda = rows.stride;
      g.a_scale = rows.scale;
    }
    if (buffers.in.size() > 2) g.epilogue.bias = static_cast<const float*>(buffers.in[2]);
    if (buffers.in.size() > 3) g.epilogue.residual = buffers.in[3], g.epilogue.residual_stride = residual_stride_;
    if (buffers.in.size() > kGate) g.epilogue.gate = static_cast<const float*>(buffers.in[kGate]), g.epilogue.gate_stride = gate_stride_;
    return bound([gemm = gemm_, g, bad = buffers.bad_value](Stream& stream) mutable {
      g.stop = &stream.stop;
      if (gemm.run(g) != kNoBadRow) bad.report();
    });
  }

  std::vector<std::string> variants() const override {
    std::vector<std::string> texts;
    if (way_ == Way::strassen && !spec_.uses_strassen(x_.rows())) return texts;  // those of the plain kernel
    if (way_ == Way::int16 && spec_.uses_strassen(x_.rows())) texts.push_back(cat(kStrassen, "=0"));
    const std::vector<GemmBlocking> candidates = gemm_blocking_candidates(spec_, x_.rows(), level_, threads_);
    for (size_t i = 1; i < candidates.size(); ++i) texts.push_back(tuning_of(candidates[i]));  // the first is the default
    return texts;
  }

  std::vector<TuningParameter> parameters() const override {
    const GemmBlocking b = gemm_default_blocking(spec_, x_.rows(), level_, threads_);
    if (spec_.uses_strassen(x_.rows()))
      return {{"tiles", {22, 44, 88, 176}, b.tiles}, {"panels", {2, 4, 8, 16}, b.panels}, {"units", {160, 320, 640, 1280}, b.units}};
    return {{"tiles", {1, 2, 4, 8, 16, 32, 64}, b.tiles},
            {"panels", {1, 2, 4, 5, 8, 10, 16, 20, 40}, b.panels},
            {"units", {128, 192, 320, 640, 1280, 2560}, b.units},
            {"tile_outer", {0, 1}, b.tile_outer},
            {"pack_a", {0, 1}, b.pack_a}};
  }

 private:
  const Way way_;
  const GemmSpec spec_;
  const Operand x_;
  const DType weight_;
  const Isa level_;
  const int threads_;
  const int64_t ldc_, residual_stride_, gate_stride_;
  const Gemm gemm_;
};

Answer ask_linear(Way way, const KernelCall& call, const Target& target) {
  if (Refusal reason = refuse_unless_activations(call, {3})) return *reason;
  if (!call.in[1]->constant) return "the weight is not constant, it cannot be packed once";
  if (!is_floating(call.in[1]->dtype) && !call.has(kScale) && !call.attrs->has("blocks"))
    return "the weight is neither floating point nor int8 with scales nor in blocks";
  if (call.has(kScale) && (!call.in[kScale]->constant || call.in[kScale]->dtype != DType::float32))
    return "the weight's scales are not float32 constants";
  if (call.has(2) && call.in[2]->dtype != DType::float32) return "the bias is not float32";
  if (call.has(3) && call.in[3]->dtype != call.out.dtype) return "the residual has another dtype";
  if (call.has(kGate) && call.in[kGate]->dtype != DType::float32) return "the gate is not float32";
  if (call.has(kScale) && call.attrs->has("hadamard")) return "rows that are stored in 8 bits are not turned";
  const Isa level = level_of(target);
  const GemmSpec spec = gemm_spec(way, call, level);
  if (Refusal reason = gemm_refuse(spec, level)) return *reason;
  if (Refusal reason = way == Way::int16 ? refuse_int16(call, spec, level) : way == Way::strassen ? refuse_strassen(call, spec) : std::nullopt)
    return *reason;
  return std::make_unique<GemmOffer>(way, call, spec, target);
}

}  // namespace

std::span<const KernelEntry> linear_entries() {
  static const std::vector<KernelEntry> list = [] {
    std::vector<KernelEntry> all;
    for (Op op : {Op::linear, Op::geglu_linear})
      for (Way way : {Way::int16, Way::strassen, Way::plain})
        all.push_back({.name = cat(op == Op::linear ? "gemm" : "gemm_geglu", suffix_of(way)),
                       .op = op,
                       .ask = [way](const KernelCall& call, const Target& target) { return ask_linear(way, call, target); },
                       .strided_in = true,
                       .strided_out = true,
                       .traits = static_cast<uint8_t>(way == Way::int16 ? kInt16Products : 0)});
    return all;
  }();
  return list;
}

}  // namespace vivace::cpu
