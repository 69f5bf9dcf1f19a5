// conv2d and upsample_conv2d on a library's convolution (dnn.h), with what follows it in the same trip.
#include "backends/cuda/dnn.h"

#include <algorithm>
#include <span>

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/packing.h"
#include "backends/cuda/stream.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr size_t kWeight = 1, kBias = 2, kImageBias = 3, kResidual = 4, kInputs = 5;

class LibraryConvolution final : public BoundKernel {
 public:
  // One call or several.
  LibraryConvolution(std::shared_ptr<const Convolution> convolution, int algorithm, std::vector<Convolution::Addresses> addresses,
                     std::unique_ptr<BoundKernel> before, std::unique_ptr<BoundKernel> behind)
      : convolution_(std::move(convolution)),
        algorithm_(algorithm),
        addresses_(std::move(addresses)),
        before_(std::move(before)),
        behind_(std::move(behind)) {}
  void run(Stream& stream) noexcept override {
    before_->run(stream);
    auto& on = static_cast<CudaStream&>(stream);
    on.driver().enter();
    for (const Convolution::Addresses& addresses : addresses_)
      if (const std::string wrong = convolution_->run(algorithm_, addresses, on.handle()); !wrong.empty()) on.fail(wrong);
    behind_->run(stream);
  }

 private:
  const std::shared_ptr<const Convolution> convolution_;
  const int algorithm_;
  const std::vector<Convolution::Addresses> addresses_;
  const std::unique_ptr<BoundKernel> before_, behind_;
};

StridedCopy copy_of_rows(const Operand& operand, const void* from, int64_t from_pitch, void* to, int64_t to_pitch) {
  return {.in = from,
          .out = to,
          .sizes = {operand.rows(), operand.columns()},
          .in_strides = {from_pitch, 1},
          .out_strides = {to_pitch, 1},
          .bytes = dtype_size(operand.dtype)};
}

// dense: without pitches.
ConvolutionCall convolution_call(const KernelCall& call, bool dense) {
  // [.., height, width, channels]: frames of videos are images too.
  const auto x = std::span(call.in[0]->shape).last(3), y = std::span(call.out.shape).last(3);
  const Shape& w = call.in[kWeight]->shape;
  const bool doubled = call.op == Op::upsample_conv2d;
  const auto pitch = [&](const Operand& operand) { return dense ? operand.columns() : operand.row_pitch(); };
  ConvolutionCall c{.images = call.out.rows() / (y[0] * y[1]),
                    .height = doubled ? y[0] : x[0],
                    .width = doubled ? y[1] : x[1],
                    .channels = x[2],
                    .out_height = y[0],
                    .out_width = y[1],
                    .out_channels = y[2],
                    .kernel_height = w[2],
                    .kernel_width = w[3],
                    .stride = call.attrs->integer("stride", 1),
                    .x_pitch = doubled ? x[2] : pitch(*call.in[0]),
                    .y_pitch = pitch(call.out),
                    .residual_pitch = call.has(kResidual) ? pitch(*call.in[kResidual]) : 0,
                    .image_bias_pitch = call.has(kImageBias) ? pitch(*call.in[kImageBias]) : 0,
                    .dtype = call.in[0]->dtype,
                    .act = activation_of(call.attrs->text("act")),
                    .bias = call.has(kBias),
                    .image_bias = call.has(kImageBias),
                    .residual = call.has(kResidual)};
  if (doubled)
    std::ranges::fill(c.padding, 1);
  else
    std::ranges::copy(call.attrs->integers("padding"), c.padding);
  return c;
}

// What the library reads in a place of its own is put there first, and what it writes there is put into its place behind it: a picture that it cannot
// double on its way, and rows with a pitch where it wants them one behind the other. A library that takes no bias of each image is given image by
// image.
class DnnOffer final : public Offer {
 public:
  // `asked`: the convolution's call, of all images or of one.
  DnnOffer(Driver& driver, std::shared_ptr<const Convolution> convolution, const KernelCall& call, const ConvolutionCall& asked, bool dense)
      : driver_(driver),
        convolution_(std::move(convolution)),
        asked_(asked),
        algorithm_(algorithm_of(*convolution_, call)),
        doubled_(call.op == Op::upsample_conv2d),
        in_(call.in),
        out_(call.out) {
    workspace_bytes = aligned(convolution_->workspace_bytes(algorithm_));
    in_.resize(kInputs);
    const auto place = [&](int64_t rows, const Operand& operand) {
      const size_t at = workspace_bytes;
      workspace_bytes += aligned(static_cast<size_t>(rows * operand.columns()) * dtype_size(operand.dtype));
      return at;
    };
    if (doubled_) places_[0] = place(call.out.rows(), *in_[0]);
    for (const size_t i : {size_t{0}, kImageBias, kResidual})
      if (dense && !places_[i] && in_[i] && has_pitch(*in_[i])) places_[i] = place(in_[i]->rows(), *in_[i]);
    if (dense && has_pitch(out_)) result_at_ = place(out_.rows(), out_);
    const Operand& weight = *in_[kWeight];
    packed = {.input = static_cast<int>(kWeight),
              .bytes = static_cast<size_t>(numel(weight.shape)) * dtype_size(in_[0]->dtype),
              .key = cat("channels_last(", dtype_name(in_[0]->dtype), ')')};  // as the own convolution reads it
  }

  static bool has_pitch(const Operand& operand) { return operand.row_pitch() != operand.columns(); }

  void pack(const void* source, const void*, void* to, Stream& stream) const override {
    repack(driver_, channels_last_weight(in_[kWeight]->shape, in_[kWeight]->dtype, in_[0]->dtype), source, to)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    auto before = std::make_unique<Launches>(driver_), behind = std::make_unique<Launches>(driver_);
    std::vector<const void*> in(buffers.in.begin(), buffers.in.end());
    in.resize(kInputs);
    for (size_t i = 0; i < kInputs; ++i) {
      if (!places_[i]) continue;
      void* const to = static_cast<char*>(buffers.workspace) + *places_[i];
      if (i == 0 && doubled_)
        before->add(make_upsample(doubling(in[i], to)));
      else
        before->add(make_copy(copy_of_rows(*in_[i], in[i], in_[i]->row_pitch(), to, in_[i]->columns())));
      in[i] = to;
    }
    void* const y = result_at_ ? static_cast<char*>(buffers.workspace) + *result_at_ : buffers.out;
    if (result_at_) behind->add(make_copy(copy_of_rows(out_, y, out_.columns(), buffers.out, out_.row_pitch())));
    const ConvolutionCall& c = asked_;
    const auto behind_image = [](const void* p, int64_t elements, DType dtype) -> const void* {
      return p ? static_cast<const char*>(p) + elements * static_cast<int64_t>(dtype_size(dtype)) : nullptr;
    };
    std::vector<Convolution::Addresses> turns;
    for (int64_t image = 0; image < images(); image += c.images)
      turns.push_back({.x = behind_image(in[0], image * c.height * c.width * c.x_pitch, c.dtype),
                       .w = in[kWeight],
                       .bias = in[kBias],
                       .image_bias = behind_image(in[kImageBias], image * c.image_bias_pitch, DType::float32),
                       .residual = behind_image(in[kResidual], image * c.out_height * c.out_width * c.residual_pitch, c.dtype),
                       .y = const_cast<void*>(behind_image(y, image * c.out_height * c.out_width * c.y_pitch, c.dtype)),
                       .workspace = buffers.workspace});
    return std::make_unique<LibraryConvolution>(convolution_, algorithm_, std::move(turns), std::move(before), std::move(behind));
  }

  std::vector<std::string> variants() const override { return other_algorithms(*convolution_); }

 private:
  int64_t images() const { return out_.rows() / (asked_.out_height * asked_.out_width); }
  UpsampleArguments doubling(const void* from, void* to) const {
    const auto x = std::span(in_[0]->shape).last(3), y = std::span(out_.shape).last(3);
    return {.in = from,
            .out = to,
            .images = images(),
            .height = x[0],
            .width = x[1],
            .out_height = y[0],
            .out_width = y[1],
            .pixel_bytes = x[2] * static_cast<int64_t>(dtype_size(in_[0]->dtype))};
  }

  Driver& driver_;
  const std::shared_ptr<const Convolution> convolution_;
  const ConvolutionCall asked_;
  const int algorithm_;
  const bool doubled_;
  std::vector<std::optional<Operand>> in_;
  const Operand out_;
  std::optional<size_t> places_[kInputs], result_at_;  // in the workspace
};

// Whether each image begins at a multiple of what the library is promised.
bool can_be_apart(const ConvolutionCall& c) {
  constexpr int64_t kAlignment = 16;
  const auto size = static_cast<int64_t>(dtype_size(c.dtype)), pixels = c.out_height * c.out_width;
  return c.image_bias && c.images > 1 && c.height * c.width * c.x_pitch * size % kAlignment == 0 && pixels * c.y_pitch * size % kAlignment == 0 &&
         pixels * c.residual_pitch * size % kAlignment == 0 && c.image_bias_pitch * static_cast<int64_t>(sizeof(float)) % kAlignment == 0;
}

// behind: of the two entries the one behind the own kernels.
template <bool behind>
Answer ask_dnn(Driver& driver, const KernelCall& call, const Target& target) {
  if (Refusal reason = refuse_unless_activations(call, {0, kWeight, kResidual})) return *reason;
  const Operand& x = *call.in[0];
  const Activation act = activation_of(call.attrs->text("act"));
  if (x.dtype == DType::float32 && !target.tf32_convolutions) return "it multiplies float32 as TF32, which is not allowed";
  // Own kernels have no tensor cores for float32. Of 16 bits they need no plan for each number of frames, and double pictures on their way.
  const bool first = x.dtype == DType::float32 || (call.op == Op::conv2d && x.shape.size() == 4);
  if (first == behind) return behind ? "it comes before the own kernels" : "own kernels come first for frames and doubled pictures of 16 bits";
  if (!call.in[kWeight]->constant) return "the weight is not constant, it cannot be packed once";
  for (size_t i : {kBias, kImageBias})
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "the bias is not float32";
  if (call.out.dtype != x.dtype || (call.has(kResidual) && call.in[kResidual]->dtype != x.dtype)) return "activations of two dtypes";
  if (act != kIdentity && act != kSilu && act != kRelu && act != kGelu) return cat("no ", call.attrs->text("act"), " in its epilogue");
  if (call.has(kImageBias) && x.shape.size() != 4) return "a bias of each image, of frames";
  DnnLibrary* dnn = driver.dnn();
  if (!dnn) return "there is no cuDNN";
  driver.enter();
  const bool pitched = std::ranges::any_of(call.in, [](const auto& in) { return in && DnnOffer::has_pitch(*in); }) || DnnOffer::has_pitch(call.out);
  for (const bool dense : {false, true})
    for (const bool apart : {false, true}) {
      ConvolutionCall c = convolution_call(call, dense);
      if ((dense && !pitched) || (apart && !can_be_apart(c))) continue;
      if (apart) c.images = 1;
      if (auto convolution = dnn->convolution(c)) return std::make_unique<DnnOffer>(driver, std::move(convolution), call, c, dense);
    }
  return "cuDNN has no plan for it";
}

KernelEntry library_entry(Driver& driver, std::string_view name, Op op, Answer (*answer)(Driver&, const KernelCall&, const Target&)) {
  return {.name = std::string(name),
          .op = op,
          .ask = [&driver, answer](const KernelCall& call, const Target& target) { return answer(driver, call, target); },
          .strided_in = op == Op::conv2d,
          .strided_out = true};
}

}  // namespace

void add_library_convolutions(Driver& driver, Entries& list) {
  list.push_back(library_entry(driver, "cudnn", Op::conv2d, ask_dnn<false>));
  list.push_back(library_entry(driver, "upsample_cudnn", Op::upsample_conv2d, ask_dnn<false>));
}

void add_library_convolutions_behind(Driver& driver, Entries& list) {
  list.push_back(library_entry(driver, "cudnn_behind", Op::conv2d, ask_dnn<true>));
  list.push_back(library_entry(driver, "upsample_cudnn_behind", Op::upsample_conv2d, ask_dnn<true>));
}

}  // namespace vivace::cuda
