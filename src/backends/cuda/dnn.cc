// conv2d on a library's convolution (dnn.h), with what follows it in the same trip.
#include "backends/cuda/dnn.h"

#include <algorithm>

#include "backends/cuda/entries.h"
#include "backends/cuda/packing.h"
#include "backends/cuda/stream.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr size_t kWeight = 1, kBias = 2, kImageBias = 3, kResidual = 4;

class LibraryConvolution final : public BoundKernel {
 public:
  LibraryConvolution(std::shared_ptr<const Convolution> convolution, int algorithm, const Convolution::Addresses& addresses)
      : convolution_(std::move(convolution)), algorithm_(algorithm), addresses_(addresses) {}
  void run(Stream& stream) noexcept override {
    auto& on = static_cast<CudaStream&>(stream);
    on.driver().enter();
    if (const std::string wrong = convolution_->run(algorithm_, addresses_, on.handle()); !wrong.empty()) on.fail(wrong);
  }

 private:
  const std::shared_ptr<const Convolution> convolution_;
  const int algorithm_;
  const Convolution::Addresses addresses_;
};

class LibraryOffer final : public Offer {
 public:
  LibraryOffer(Driver& driver, std::shared_ptr<const Convolution> convolution, const KernelCall& call)
      : driver_(driver),
        convolution_(std::move(convolution)),
        algorithm_(algorithm_of(*convolution_, call)),
        weight_(*call.in[kWeight]),
        dtype_(call.in[0]->dtype) {
    workspace_bytes = convolution_->workspace_bytes(algorithm_);
    packed = {.input = static_cast<int>(kWeight),
              .bytes = static_cast<size_t>(numel(weight_.shape)) * dtype_size(dtype_),
              .key = cat("channels_last(", dtype_name(dtype_), ')')};  // as the own convolution reads it
  }

  void pack(const void* source, const void*, void* to, Stream& stream) const override {
    repack(driver_, channels_last_weight(weight_.shape, weight_.dtype, dtype_), source, to)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    const auto in = [&](size_t i) -> const void* { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
    return std::make_unique<LibraryConvolution>(convolution_, algorithm_,
                                                Convolution::Addresses{.x = in(0),
                                                                       .w = in(kWeight),
                                                                       .bias = in(kBias),
                                                                       .image_bias = in(kImageBias),
                                                                       .residual = in(kResidual),
                                                                       .y = buffers.out,
                                                                       .workspace = buffers.workspace});
  }

  std::vector<std::string> variants() const override { return other_algorithms(*convolution_); }

 private:
  Driver& driver_;
  const std::shared_ptr<const Convolution> convolution_;
  const int algorithm_;
  const Operand weight_;
  const DType dtype_;
};

Answer ask(Driver& driver, const KernelCall& call, const Target& target) {
  if (Refusal reason = refuse_unless_activations(call, {0, kWeight, kResidual})) return *reason;
  const Operand& x = *call.in[0];
  const Activation act = activation_of(call.attrs->text("act"));
  if (x.dtype == DType::float32 && !target.tf32_convolutions) return "it multiplies float32 as TF32, which is not allowed";
  if (!call.in[kWeight]->constant) return "the weight is not constant, it cannot be packed once";
  for (size_t i : {kBias, kImageBias})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "the bias is not float32";
  if (call.out.dtype != x.dtype || (call.has(kResidual) && call.in[kResidual]->dtype != x.dtype)) return "activations of two dtypes";
  if (act != kIdentity && act != kSilu && act != kRelu && act != kGelu) return cat("no ", call.attrs->text("act"), " in its epilogue");
  if (x.shape.size() != 4) return "not of pictures";
  DnnLibrary* dnn = driver.dnn();
  if (!dnn) return "there is no cuDNN";
  const Shape &w = call.in[kWeight]->shape, &y = call.out.shape;
  ConvolutionCall c{.images = x.shape[0],
                    .height = x.shape[1],
                    .width = x.shape[2],
                    .channels = x.shape[3],
                    .out_height = y[1],
                    .out_width = y[2],
                    .out_channels = y[3],
                    .kernel_height = w[2],
                    .kernel_width = w[3],
                    .stride = call.attrs->integer("stride", 1),
                    .x_pitch = x.row_pitch(),
                    .y_pitch = call.out.row_pitch(),
                    .residual_pitch = call.has(kResidual) ? call.in[kResidual]->row_pitch() : 0,
                    .image_bias_pitch = call.has(kImageBias) ? call.in[kImageBias]->row_pitch() : 0,
                    .dtype = x.dtype,
                    .act = act,
                    .bias = call.has(kBias),
                    .image_bias = call.has(kImageBias),
                    .residual = call.has(kResidual)};
  std::ranges::copy(call.attrs->integers("padding"), c.padding);
  auto convolution = dnn->convolution(c);
  if (!convolution) return "cuDNN has no plan for it";
  return std::make_unique<LibraryOffer>(driver, std::move(convolution), call);
}

}  // namespace

void add_library_convolutions(Driver& driver, Entries& list) {
  list.push_back({.name = "cudnn",
                  .op = Op::conv2d,
                  .ask = [&driver](const KernelCall& call, const Target& target) { return ask(driver, call, target); },
                  .strided_in = true,
                  .strided_out = true});
}

}  // namespace vivace::cuda
