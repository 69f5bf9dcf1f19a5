// conv2d, conv3d and upsample_conv2d on our own convolutions (kernels/conv/conv.h). A 1x1 convolution with conv_1x1_as_mm is a GEMM (linear.cc).
#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/conv/plan.h"
#include "base/log.h"

namespace vivace::cpu {
namespace {

// Where an op keeps its operands.
struct Slots {
  size_t weight, bias, image_bias, residual;
};
constexpr size_t kAbsent = 99;
constexpr Slots slots_of(Op op) {
  if (op == Op::conv2d) return {1, 2, 3, 4};
  if (op == Op::conv3d) return {1, 2, kAbsent, 3};
  return {1, 2, kAbsent, kAbsent};
}

std::string conv_name(const ConvKernel& kernel, Op op) {
  return cat(op == Op::upsample_conv2d ? "upsample_" : op == Op::conv3d ? "conv3d_" : "", kernel.name);
}

// What comes before the plane counts pictures.
int64_t pictures(const Shape& s) { return numel({s.begin(), s.end() - 3}); }

// Whether the products are of bfloat16 where the kernel leaves them their dtype. Without such products bfloat16 is storage, as float16 always is.
bool multiplies_bf16(const KernelCall& call, Isa level) {
  return level >= Isa::avx512_bf16 && (call.in[0]->dtype == DType::bfloat16 || call.attrs->text("matmul_precision") == "medium");
}

ConvSpec conv_spec(const KernelCall& call, const ConvKernel& kernel, Isa level) {
  const Operand& w = *call.in[slots_of(call.op).weight];
  ConvSpec spec{.in_channels = w.shape[1],
                .out_channels = w.shape[0],
                .kernel = static_cast<int>(w.shape.back()),
                .stride = static_cast<int>(call.attrs->integer("stride", 1)),
                .act = call.in[0]->dtype};
  const auto& pad = call.attrs->integers("padding");
  if (pad.size() == 4) spec.pad = {static_cast<int>(pad[0]), static_cast<int>(pad[1]), static_cast<int>(pad[2]), static_cast<int>(pad[3])};
  if (call.op == Op::conv3d) spec.depth = static_cast<int>(w.shape[2]);
  if (call.op == Op::upsample_conv2d) {
    spec.upsample2x = true;
    spec.pad = {1, 1, 1, 1};
  }
  const bool bf16 = multiplies_bf16(call, level) && !kernel.int16;
  spec.compute = bf16 ? DType::bfloat16 : DType::float32;
  spec.w = bf16 ? DType::float32 : spec.act;  // as narrow as the activations
  spec.blocking = {.cache_kib = tuning_value(call.tuning, "cache_kib", 0), .shared = tuning_value(call.tuning, "shared", -1)};
  return spec;
}

// Products of int16 trade error for arithmetic too, and more of it.
Refusal refuse_int16_conv(const KernelCall& call, const ConvKernel& kernel, const ConvSpec& spec, Isa level) {
  if (!kernel.int16) return std::nullopt;
  if (Refusal reason = refuse_error(kernel.error(spec), int16_bound(*call.attrs), "products of int16 are off for this convolution")) return reason;
  if (spec.in_channels < kConvInt16Block) return cat("fewer than ", kConvInt16Block, " input channels would be filled up to as many");
  if (level >= Isa::amx && multiplies_bf16(call, level)) return "the tiles of AMX multiply bfloat16 faster";
  return std::nullopt;
}

// Winograd trades error for arithmetic: only as far as the plan says it may.
Refusal refuse_winograd(const ConvKernel& kernel, const ConvSpec& spec, double bound) {
  if (!kernel.winograd) return std::nullopt;
  return refuse_error(kernel.error(spec), bound, "Winograd is off for this convolution");
}

class ConvOffer final : public Offer {
 public:
  ConvOffer(const ConvKernel& kernel, const KernelCall& call, const ConvSpec& spec, const Target& target)
      : kernel_(kernel), spec_(spec), level_(level_of(target)), slots_(slots_of(call.op)), weight_(call.in[slots_.weight]->dtype) {
    const Shape &x = call.in[0]->shape, &y = call.out.shape;
    args_ = {.n = pictures(y),
             .h = x[x.size() - 3],
             .w = x[x.size() - 2],
             .ldx = call.in[0]->row_pitch(),
             .ldy = call.out.row_pitch(),
             .activation = act_of(call.attrs->text("act"))};
    if (call.op == Op::conv3d) args_.frames = y[1];
    if (call.has(slots_.image_bias)) args_.ld_image_bias = call.in[slots_.image_bias]->row_pitch();
    if (call.has(slots_.residual)) args_.ld_residual = call.in[slots_.residual]->row_pitch();
    plan_ = kernel.plan(spec, level_, args_.n, args_.h, args_.w, target.threads);
    workspace_bytes = plan_.workspace_bytes();
    packed = {.input = static_cast<int>(slots_.weight),
              .bytes = kernel.packed_bytes(spec, level_),
              .key = cat(conv_name(kernel, call.op), '(', isa_name(level_), ' ', dtype_name(spec.compute), ' ', dtype_name(spec.w), ')')};
  }

  void pack(const void* source, const void*, void* to, Stream& stream) const override {
    kernel_.pack(spec_, level_, source, weight_, to, &stream.stop);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    const auto given = [&](size_t slot) { return slot < buffers.in.size() ? buffers.in[slot] : nullptr; };
    ConvArgs args = args_;
    args.x = buffers.in[0], args.y = buffers.out;
    args.bias = static_cast<const float*>(given(slots_.bias)), args.image_bias = static_cast<const float*>(given(slots_.image_bias));
    args.residual = given(slots_.residual);
    return bound([kernel = &kernel_, spec = spec_, level = level_, plan = plan_, args, packed = buffers.in[slots_.weight],
                  workspace = buffers.workspace](Stream& stream) mutable {
      args.stop = &stream.stop;
      kernel->run(spec, level, plan, packed, args, workspace);
    });
  }

  // int16 shares its input as the size of its weights wants it (kernels/conv/plan.h).
  std::vector<TuningParameter> parameters() const override {
    std::vector<TuningParameter> list{{"cache_kib", {64, 128, 256, 384, 512, 768, 1024}, 512}};
    if (!kernel_.int16) list.push_back({"shared", {0, -1, 1}, -1});
    return list;
  }

  std::vector<std::string> variants() const override {
    std::vector<std::string> texts;
    for (int cache_kib : {128, 256, 512, 1024}) {
      if (kernel_.int16)
        texts.push_back(cat("cache_kib=", cache_kib));
      else
        for (int shared : {0, 1}) texts.push_back(cat("cache_kib=", cache_kib, " shared=", shared));
    }
    return texts;
  }

 private:
  const ConvKernel& kernel_;
  const ConvSpec spec_;
  const Isa level_;
  const Slots slots_;
  const DType weight_;
  ConvArgs args_;
  ConvPlan plan_;
};

Answer ask_conv(const ConvKernel& kernel, const KernelCall& call, const Target& target) {
  const Slots slots = slots_of(call.op);
  const Operand& w = *call.in[slots.weight];
  if (Refusal reason = refuse_unless_activations(call, {0, slots.residual})) return *reason;
  if (!w.constant) return "the weight is not constant, it cannot be packed once";
  if (!is_floating(w.dtype)) return "the weight is not floating point";
  if (w.shape.back() != w.shape[w.shape.size() - 2]) return "the kernel is not square";
  for (size_t i : {slots.bias, slots.image_bias})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "a bias is not float32";
  if (call.has(slots.residual) && call.in[slots.residual]->dtype != call.out.dtype) return "the residual has another dtype";
  const Isa level = level_of(target);
  const ConvSpec spec = conv_spec(call, kernel, level);
  if (Refusal reason = refuse_winograd(kernel, spec, call.attrs->real("winograd_error"))) return *reason;
  if (Refusal reason = refuse_int16_conv(call, kernel, spec, level)) return *reason;
  if (Refusal reason = kernel.refuse(spec, level)) return *reason;
  return std::make_unique<ConvOffer>(kernel, call, spec, target);
}

}  // namespace

std::span<const KernelEntry> conv_entries() {
  static const std::vector<KernelEntry> list = [] {
    std::vector<KernelEntry> all;
    for (const ConvKernel& kernel : conv_kernels())
      for (Op op : {Op::conv2d, Op::conv3d, Op::upsample_conv2d})
        all.push_back({.name = conv_name(kernel, op),
                       .op = op,
                       .ask = [&kernel](const KernelCall& call, const Target& target) { return ask_conv(kernel, call, target); },
                       .strided_in = true,
                       .strided_out = true,
                       .traits = static_cast<uint8_t>((kernel.int16 ? kInt16Products : 0) | (kernel.winograd ? kWinograd : 0))});
    return all;
  }();
  return list;
}

}  // namespace vivace::cpu
