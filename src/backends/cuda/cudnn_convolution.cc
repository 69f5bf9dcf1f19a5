// Convolutions with what follows them, as one graph.
#include "backends/cuda/cudnn_graph.h"

namespace vivace::cuda {
namespace {

enum Uid : int64_t { kX = 1, kW, kY, kBias, kImageBias, kResidual, kFirstVirtual };

class CudnnConvolution final : public Convolution {
 public:
  CudnnConvolution(const CudnnHandle& dnn, const ConvolutionCall& call, std::string_view key) : call_(call), graph_(dnn, key) { build(); }

  bool has(int algorithm) const override { return graph_.has(algorithm); }
  size_t workspace_bytes(int algorithm) const override { return graph_.workspace_bytes(algorithm); }

  std::string run(int algorithm, const Addresses& a, DriverStream* stream) const override {
    std::vector<int64_t> ids{kX, kW, kY};
    std::vector<const void*> addresses{a.x, a.w, a.y};
    const auto add = [&](bool present, Uid id, const void* p) {
      if (present) ids.push_back(id), addresses.push_back(p);
    };
    add(call_.bias, kBias, a.bias);
    add(call_.image_bias, kImageBias, a.image_bias);
    add(call_.residual, kResidual, a.residual);
    return graph_.run(algorithm, ids, addresses, a.workspace, stream);
  }

 private:
  void pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
    const Descriptor& what = graph_.part(CUDNN_BACKEND_POINTWISE_DESCRIPTOR)
                                 .set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
                                 .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
                                 .finish();
    Descriptor& op = graph_.part(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (b) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    graph_.add_operation(op);
  }

  void build() {
    const ConvolutionCall& c = call_;
    const auto narrow = type_of(c.dtype);
    const std::vector<int64_t> y_sizes{c.images, c.out_channels, c.out_height, c.out_width};
    const auto of_pixels = [&](int64_t pitch, int64_t height, int64_t width) {
      return std::vector<int64_t>{height * width * pitch, 1, width * pitch, pitch};
    };
    const Descriptor& x = graph_.tensor(kX, narrow, {c.images, c.channels, c.height, c.width}, of_pixels(c.x_pitch, c.height, c.width));
    const Descriptor& w = graph_.tensor(kW, narrow, {c.out_channels, c.channels, c.kernel_height, c.kernel_width},
                                        {c.kernel_height * c.kernel_width * c.channels, 1, c.kernel_width * c.channels, c.channels});
    const Descriptor& how = graph_.part(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
                                .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
                                .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
                                .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, int64_t{2})
                                .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, std::vector<int64_t>{1, 1})
                                .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, std::vector<int64_t>{c.stride, c.stride})
                                .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, std::vector<int64_t>{c.padding[0], c.padding[1]})
                                .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, std::vector<int64_t>{c.padding[2], c.padding[3]})
                                .finish();
    // What follows the convolution, one after the other; all but the last are nowhere in memory.
    int left = c.bias + c.image_bias + (c.act != kIdentity) + c.residual;
    int64_t next = kFirstVirtual;
    const auto result = [&]() -> const Descriptor& {
      const bool last = left-- == 0;
      return last
                 ? graph_.tensor(kY, narrow, y_sizes, of_pixels(c.y_pitch, c.out_height, c.out_width))
                 : graph_.tensor(next++, CUDNN_DATA_FLOAT, y_sizes, of_pixels(c.out_channels, c.out_height, c.out_width), CudnnGraph::Where::nowhere);
    };
    const Descriptor* at = &result();
    graph_.add_operation(graph_.part(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *at)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.f)
                             .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.f));
    const auto follow = [&](cudnnPointwiseMode_t mode, const Descriptor* other) {
      const Descriptor& y = result();
      pointwise(mode, *at, other, y);
      at = &y;
    };
    if (c.bias)
      follow(CUDNN_POINTWISE_ADD,
             &graph_.tensor(kBias, CUDNN_DATA_FLOAT, {1, c.out_channels, 1, 1}, {c.out_channels, 1, c.out_channels, c.out_channels}));
    if (c.image_bias)
      follow(CUDNN_POINTWISE_ADD, &graph_.tensor(kImageBias, CUDNN_DATA_FLOAT, {c.images, c.out_channels, 1, 1},
                                                 {c.image_bias_pitch, 1, c.image_bias_pitch, c.image_bias_pitch}));
    if (c.act != kIdentity)
      follow(c.act == kSilu ? CUDNN_POINTWISE_SWISH_FWD : c.act == kRelu ? CUDNN_POINTWISE_RELU_FWD : CUDNN_POINTWISE_GELU_FWD, nullptr);
    if (c.residual) follow(CUDNN_POINTWISE_ADD, &graph_.tensor(kResidual, narrow, y_sizes, of_pixels(c.residual_pitch, c.out_height, c.out_width)));
    graph_.find_plans();
  }

  const ConvolutionCall call_;
  CudnnGraph graph_;
};

}  // namespace

std::shared_ptr<const Convolution> cudnn_convolution(const CudnnHandle& dnn, const ConvolutionCall& call, std::string_view key) {
  try {
    return std::make_shared<const CudnnConvolution>(dnn, call, key);
  } catch (const Refused&) {
    return nullptr;
  }
}

}  // namespace vivace::cuda
