// conv2d and upsample_conv2d on our own convolutions (kernels/conv/conv.h). A 1x1 convolution with conv_1x1_as_mm is a GEMM (linear.cc).
#include <array>

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/conv/plan.h"
#include "base/log.h"
#include "base/parallel.h"
#include "vivace/error.h"

namespace vivace::cpu {
namespace {

// Where an op keeps its operands.
struct Slots {
  size_t weight, bias, image_bias, residual;
};
constexpr size_t kAbsent = 99;
constexpr Slots slots_of(Op op) {
  if (op == Op::conv2d) return {1, 2, 3, 4};
  return {1, 2, kAbsent, kAbsent};
}

// Whether the products are of bfloat16 where the kernel leaves them their dtype. Without such products bfloat16 is storage, as float16 always is.
bool multiplies_bf16(const KernelCall& call) {
  return isa() >= Isa::avx512_bf16 && (call.in[0]->dtype == DType::bfloat16 || call.attrs->text("matmul_precision") == "medium");
}

ConvSpec spec_of(const KernelCall& call, const ConvKernel& kernel) {
  const Operand& w = *call.in[slots_of(call.op).weight];
  ConvSpec spec{.in_channels = w.shape[1],
                .out_channels = w.shape[0],
                .kernel = static_cast<int>(w.shape[2]),
                .stride = static_cast<int>(call.attrs->integer("stride", 1)),
                .act = call.in[0]->dtype};
  const auto& pad = call.attrs->integers("padding");
  if (pad.size() == 4) spec.pad = {static_cast<int>(pad[0]), static_cast<int>(pad[1]), static_cast<int>(pad[2]), static_cast<int>(pad[3])};
  if (call.op == Op::upsample_conv2d) {
    spec.upsample2x = true;
    spec.pad = {1, 1, 1, 1};
  }
  const bool bf16 = multiplies_bf16(call) && !kernel.int16;
  spec.compute = bf16 ? DType::bfloat16 : DType::float32;
  spec.w = bf16 ? DType::float32 : spec.act;  // as narrow as the activations
  spec.blocking = {.cache_kib = tuning_value(call.tuning, "cache_kib", 0), .shared = tuning_value(call.tuning, "shared", -1)};
  return spec;
}

// Products of int16 trade error for arithmetic too, and more of it.
Refusal refuse_int16(const KernelCall& call, const ConvKernel& kernel, const ConvSpec& spec) {
  if (!kernel.int16) return std::nullopt;
  if (Refusal reason = refuse_error(kernel.error(spec), int16_bound(*call.attrs), "products of int16 are off for this convolution")) return reason;
  if (spec.in_channels < kConvInt16Block) return cat("fewer than ", kConvInt16Block, " input channels would be filled up to as many");
  if (isa() >= Isa::amx && multiplies_bf16(call)) return "the tiles of AMX multiply bfloat16 faster";
  return std::nullopt;
}

// Winograd trades error for arithmetic: only as far as the plan says it may.
Refusal refuse_winograd(const ConvKernel& kernel, const ConvSpec& spec, double bound) {
  if (!kernel.winograd) return std::nullopt;
  return refuse_error(kernel.error(spec), bound, "Winograd is off for this convolution");
}

template <size_t index>
const ConvKernel& kernel() {
  return conv_kernels()[index];
}

template <size_t index>
Refusal refuse(const KernelCall& call) {
  const Slots slots = slots_of(call.op);
  const Operand& w = *call.in[slots.weight];
  if (Refusal reason = refuse_unless_activations(call, {0, slots.residual})) return reason;
  if (!w.constant) return "the weight is not constant, it cannot be packed once";
  if (!is_floating(w.dtype)) return "the weight is not floating point";
  if (w.shape[2] != w.shape[3]) return "the kernel is not square";
  for (size_t i : {slots.bias, slots.image_bias})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "a bias is not float32";
  const ConvSpec spec = spec_of(call, kernel<index>());
  if (Refusal reason = refuse_winograd(kernel<index>(), spec, call.attrs->real("winograd_error"))) return reason;
  if (Refusal reason = refuse_int16(call, kernel<index>(), spec)) return reason;
  return kernel<index>().refuse(spec, isa());
}

// int16 shares its input as the size of its weights wants it (kernels/conv/plan.h).
template <size_t index>
std::vector<TuningParameter> parameters(const KernelCall&) {
  std::vector<TuningParameter> list{{"cache_kib", {64, 128, 256, 384, 512, 768, 1024}, 512}};
  if (!kernel<index>().int16) list.push_back({"shared", {0, -1, 1}, -1});
  return list;
}

template <size_t index>
std::vector<std::string> variants(const KernelCall&) {
  std::vector<std::string> texts;
  for (int cache_kib : {128, 256, 512, 1024}) {
    if (kernel<index>().int16)
      texts.push_back(cat("cache_kib=", cache_kib));
    else
      for (int shared : {0, 1}) texts.push_back(cat("cache_kib=", cache_kib, " shared=", shared));
  }
  return texts;
}

template <size_t index>
size_t workspace_bytes(const KernelCall& call) {
  const Shape& x = call.in[0]->shape;
  return kernel<index>().plan(spec_of(call, kernel<index>()), isa(), x[0], x[1], x[2], num_threads()).workspace_bytes();
}
template <size_t index>
size_t packed_bytes(const KernelCall& call) {
  return kernel<index>().packed_bytes(spec_of(call, kernel<index>()), isa());
}
template <size_t index>
void pack(const KernelCall& call, const void* source, const void*, void* packed) {
  kernel<index>().pack(spec_of(call, kernel<index>()), isa(), source, call.in[slots_of(call.op).weight]->dtype, packed);
}
template <size_t index>
std::string pack_key(const KernelCall& call) {
  const ConvSpec spec = spec_of(call, kernel<index>());
  return cat(isa_name(isa()), ' ', dtype_name(spec.compute), ' ', dtype_name(spec.w));
}

template <size_t index>
std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
  const Slots slots = slots_of(call.op);
  const Shape& x = call.in[0]->shape;
  ConvArgs args{.x = buffers.in[0], .n = x[0], .h = x[1], .w = x[2], .ldx = call.in[0]->row_pitch(), .y = buffers.out, .ldy = call.out.row_pitch()};
  if (call.has(slots.bias)) args.bias = static_cast<const float*>(buffers.in[slots.bias]);
  if (call.has(slots.image_bias)) {
    args.image_bias = static_cast<const float*>(buffers.in[slots.image_bias]);
    args.ld_image_bias = call.in[slots.image_bias]->row_pitch();
  }
  if (call.has(slots.residual)) {
    args.residual = buffers.in[slots.residual];
    args.ld_residual = call.in[slots.residual]->row_pitch();
  }
  args.activation = act_of(call.attrs->text("act"));
  const void* packed = buffers.in[slots.weight];
  const ConvSpec spec = spec_of(call, kernel<index>());
  const ConvPlan plan = kernel<index>().plan(spec, isa(), args.n, args.h, args.w, num_threads());
  return bound(
      [spec, plan, packed, args, workspace = buffers.workspace, level = isa()] { kernel<index>().run(spec, level, plan, packed, args, workspace); });
}

uint8_t traits_of(const ConvKernel& kernel) { return static_cast<uint8_t>((kernel.int16 ? kInt16Products : 0) | (kernel.winograd ? kWinograd : 0)); }

template <size_t index>
void add_kernel(std::vector<KernelEntry>& list) {
  struct Row {
    Op op;
    const char* prefix;
  };
  for (const Row row : {Row{Op::conv2d, ""}, Row{Op::upsample_conv2d, "upsample_"}}) {
    static std::vector<std::unique_ptr<std::string>> names;
    names.push_back(std::make_unique<std::string>(std::string(row.prefix) + std::string(kernel<index>().name)));
    list.push_back({.name = *names.back(),
                    .op = row.op,
                    .refuse = refuse<index>,
                    .bind = bind<index>,
                    .workspace_bytes = workspace_bytes<index>,
                    .packed_input = static_cast<int>(slots_of(row.op).weight),
                    .packed_bytes = packed_bytes<index>,
                    .pack = pack<index>,
                    .pack_key = pack_key<index>,
                    .strided_in = true,
                    .strided_out = true,
                    .traits = traits_of(kernel<index>()),
                    .parameters = parameters<index>,
                    .variants = variants<index>});
  }
}

template <size_t... index>
std::vector<KernelEntry> make_entries(std::index_sequence<index...>) {
  std::vector<KernelEntry> list;
  (add_kernel<index>(list), ...);
  return list;
}

constexpr size_t kKernels = 12;  // of conv_kernels(), checked below

}  // namespace

std::span<const KernelEntry> conv_entries() {
  if (conv_kernels().size() != kKernels) throw InternalError("the list of convolution kernels has another length");
  static const std::vector<KernelEntry> list = make_entries(std::make_index_sequence<kKernels>());
  return list;
}

}  // namespace vivace::cpu
