// conv2d and upsample_conv2d as implicit GEMMs (kernels/gemm.h).
#include <span>

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/gemm.h"
#include "backends/cuda/packing.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr size_t kWeight = 1, kBias = 2, kImageBias = 3, kResidual = 4;

GemmArguments arguments_of(const KernelCall& call) {
  // [.., height, width, channels]: frames of videos are images too.
  const auto x = std::span(call.in[0]->shape).last(3), y = std::span(call.out.shape).last(3);
  const Shape& w = call.in[kWeight]->shape;
  const auto size = [](int64_t n) { return static_cast<int>(n); };
  const auto& padding = call.attrs->integers("padding");
  const bool doubled = call.op == Op::upsample_conv2d;
  const int64_t k = w[1] * w[2] * w[3];
  return {.rows = call.out.rows(),
          .rows_per_image = y[0] * y[1],
          .x_pitch = x[2],
          .w_pitch = k,
          .w_step = 1,
          .y_pitch = call.out.row_pitch(),
          .residual_pitch = call.has(kResidual) ? call.in[kResidual]->row_pitch() : 0,
          .image_bias_pitch = call.has(kImageBias) ? call.in[kImageBias]->row_pitch() : 0,
          .columns = size(w[0]),
          .k = size(k),
          .act = activation_of(call.attrs->text("act")),
          .height = size(x[0]),
          .width = size(x[1]),
          .channels = size(x[2]),
          .out_height = size(y[0]),
          .out_width = size(y[1]),
          .kernel_height = size(w[2]),
          .kernel_width = size(w[3]),
          .stride = size(call.attrs->integer("stride", 1)),
          .top = doubled           ? 1
                 : padding.empty() ? 0
                                   : size(padding[0]),
          .left = doubled           ? 1
                  : padding.empty() ? 0
                                    : size(padding[1]),
          .upsample = doubled ? 1 : 0};
}

class ConvOffer final : public Offer {
 public:
  ConvOffer(Driver& driver, const KernelCall& call, const GemmTypes& types)
      : driver_(driver), arguments_(arguments_of(call)), types_(types), weight_(*call.in[kWeight]) {
    packed = {.input = static_cast<int>(kWeight),
              .bytes = static_cast<size_t>(numel(weight_.shape)) * dtype_size(types.x),
              .key = cat("channels_last(", dtype_name(types.x), ')')};
  }

  void pack(const void* source, const void*, void* to, Stream& stream) const override {
    repack(driver_, channels_last_weight(weight_.shape, weight_.dtype, types_.x), source, to)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    GemmArguments a = arguments_;
    const auto in = [&](size_t i) -> const void* { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
    a.x = in(0), a.w = in(kWeight), a.y = buffers.out;
    a.bias = in(kBias), a.image_bias = in(kImageBias), a.residual = in(kResidual);
    return launches(driver_, make_gemm(a, types_));
  }

 private:
  Driver& driver_;
  const GemmArguments arguments_;
  const GemmTypes types_;
  const Operand weight_;
};

Answer ask_conv(Driver& driver, const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, kWeight, kResidual})) return *reason;
  if (!call.in[kWeight]->constant) return "the weight is not constant, it cannot be packed once";
  for (size_t i : {kBias, kImageBias})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "the bias is not float32";
  if (call.has(kResidual) && call.in[kResidual]->dtype != call.out.dtype) return "the residual has another dtype";
  const GemmTypes types{.x = call.in[0]->dtype, .y = call.out.dtype, .bias = DType::float32, .convolution = true};
  if (std::string reason = refuse_gemm(arguments_of(call), types); !reason.empty()) return reason;
  return std::make_unique<ConvOffer>(driver, call, types);
}

}  // namespace

void add_convolutions(Driver& driver, Entries& list) {
  for (Op op : {Op::conv2d, Op::upsample_conv2d})
    list.push_back({.name = op == Op::conv2d ? "conv_gemm" : "upsample_conv_gemm",
                    .op = op,
                    .ask = [&driver](const KernelCall& call, const Target&) { return ask_conv(driver, call); },
                    .strided_out = true});
}

}  // namespace vivace::cuda
