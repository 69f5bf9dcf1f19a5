#include "backends/cuda/cudnn.h"

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "backends/cuda/library.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

constexpr size_t kMostAlgorithms = 8;
constexpr int64_t kAlignment = 16;

// What fails while a description is made: there is then no plan, and the reason is nobody's but the library's.
struct Refused {};

class Descriptor {
 public:
  Descriptor(const CudnnFunctions& f, cudnnBackendDescriptorType_t type) : f_(&f) { check(f.create_descriptor(type, &handle_)); }
  ~Descriptor() {
    if (handle_) f_->destroy_descriptor(handle_);
  }
  Descriptor(Descriptor&& other) noexcept : f_(other.f_), handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const std::vector<T>& values) {
    check(f_->set(handle_, name, type, static_cast<int64_t>(values.size()), values.data()));
    return *this;
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    check(f_->set(handle_, name, type, 1, &value));
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& other) { return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.handle_); }
  Descriptor& finish() {
    check(f_->finalize(handle_));
    return *this;
  }
  cudnnBackendDescriptor_t get() const { return handle_; }

 private:
  static void check(cudnnStatus_t status) {
    if (status != CUDNN_STATUS_SUCCESS) throw Refused{};
  }

  const CudnnFunctions* f_;
  cudnnBackendDescriptor_t handle_ = nullptr;
};

cudnnDataType_t type_of(DType dtype) {
  return dtype == DType::float32 ? CUDNN_DATA_FLOAT : dtype == DType::bfloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

enum Uid : int64_t { kX = 1, kW, kY, kBias, kImageBias, kResidual, kFirstVirtual };

class Cudnn final : public DnnLibrary {
 public:
  explicit Cudnn(const CudnnFunctions& functions) : f(functions) {
    if (f.create(&handle) != CUDNN_STATUS_SUCCESS) throw UserError("cuda: cuDNN cannot be opened");
  }
  ~Cudnn() override {
    kept_.clear();
    f.destroy(handle);
  }
  std::string version() const override { return cat("cuDNN ", f.version()); }
  std::shared_ptr<const Convolution> convolution(const ConvolutionCall& call) override;

  const CudnnFunctions f;
  cudnnHandle_t handle = nullptr;
  mutable std::mutex running;  // the handle's stream is set, then used

 private:
  std::mutex mutex_;
  std::map<std::vector<int64_t>, std::shared_ptr<const Convolution>> kept_;
};

class CudnnConvolution final : public Convolution {
 public:
  CudnnConvolution(const Cudnn& dnn, const ConvolutionCall& call) : dnn_(dnn), call_(call) {
    try {
      build();
    } catch (const Refused&) {
      plans_.clear();
    }
  }

  int algorithms() const override { return static_cast<int>(plans_.size()); }
  size_t workspace_bytes(int algorithm) const override { return plans_[static_cast<size_t>(algorithm)].workspace; }

  std::string run(int algorithm, const Addresses& a, DriverStream* stream) const override {
    std::vector<int64_t> ids{kX, kW, kY};
    std::vector<const void*> pointers{a.x, a.w, a.y};
    const auto add = [&](bool present, Uid id, const void* p) {
      if (present) ids.push_back(id), pointers.push_back(p);
    };
    add(call_.bias, kBias, a.bias);
    add(call_.image_bias, kImageBias, a.image_bias);
    add(call_.residual, kResidual, a.residual);
    try {
      Descriptor pack(dnn_.f, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
      pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids)
          .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers)
          .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, a.workspace)
          .finish();
      const std::lock_guard lock(dnn_.running);
      dnn_.f.set_stream(dnn_.handle, reinterpret_cast<cudaStream_t>(stream));
      const cudnnStatus_t status = dnn_.f.execute(dnn_.handle, plans_[static_cast<size_t>(algorithm)].plan.get(), pack.get());
      return status == CUDNN_STATUS_SUCCESS ? "" : cat("cuDNN's status ", static_cast<int>(status));
    } catch (const Refused&) {
      return "cuDNN refuses the addresses";
    }
  }

 private:
  struct Plan {
    Descriptor config, plan;
    size_t workspace;
  };

  // A tensor [n, c, h, w] of these strides.
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, std::vector<int64_t> sizes, std::vector<int64_t> strides, bool is_virtual = false) {
    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    return parts_.back()
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, sizes)
        .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides)
        .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment)
        .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual)
        .finish();
  }

  void pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const Descriptor& what = parts_.back()
                                 .set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
                                 .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
                                 .finish();
    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    Descriptor& op = parts_.back();
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (b) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    operations_.push_back(op.finish().get());
  }

  void build() {
    const ConvolutionCall& c = call_;
    const auto narrow = type_of(c.dtype);
    const std::vector<int64_t> y_sizes{c.images, c.out_channels, c.out_height, c.out_width};
    const auto of_pixels = [&](int64_t pitch, int64_t height, int64_t width) {
      return std::vector<int64_t>{height * width * pitch, 1, width * pitch, pitch};
    };
    parts_.reserve(32);  // what is handed on by reference stays where it is
    const Descriptor& x = tensor(kX, narrow, {c.images, c.channels, c.height, c.width}, of_pixels(c.x_pitch, c.height, c.width));
    const Descriptor& w = tensor(kW, narrow, {c.out_channels, c.channels, c.kernel_height, c.kernel_width},
                                 {c.kernel_height * c.kernel_width * c.channels, 1, c.kernel_width * c.channels, c.channels});
    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const Descriptor& how = parts_.back()
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
      return last ? tensor(kY, narrow, y_sizes, of_pixels(c.y_pitch, c.out_height, c.out_width))
                  : tensor(next++, CUDNN_DATA_FLOAT, y_sizes, of_pixels(c.out_channels, c.out_height, c.out_width), true);
    };
    const Descriptor* at = &result();
    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    operations_.push_back(parts_.back()
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how)
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *at)
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.f)
                              .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.f)
                              .finish()
                              .get());
    const auto follow = [&](cudnnPointwiseMode_t mode, const Descriptor* other) {
      const Descriptor& y = result();
      pointwise(mode, *at, other, y);
      at = &y;
    };
    if (c.bias)
      follow(CUDNN_POINTWISE_ADD, &tensor(kBias, CUDNN_DATA_FLOAT, {1, c.out_channels, 1, 1}, {c.out_channels, 1, c.out_channels, c.out_channels}));
    if (c.image_bias)
      follow(CUDNN_POINTWISE_ADD, &tensor(kImageBias, CUDNN_DATA_FLOAT, {c.images, c.out_channels, 1, 1},
                                          {c.image_bias_pitch, 1, c.image_bias_pitch, c.image_bias_pitch}));
    if (c.act != kIdentity)
      follow(c.act == kSilu ? CUDNN_POINTWISE_SWISH_FWD : c.act == kRelu ? CUDNN_POINTWISE_RELU_FWD : CUDNN_POINTWISE_GELU_FWD, nullptr);
    if (c.residual) follow(CUDNN_POINTWISE_ADD, &tensor(kResidual, narrow, y_sizes, of_pixels(c.residual_pitch, c.out_height, c.out_width)));

    parts_.emplace_back(dnn_.f, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const Descriptor& graph = parts_.back()
                                  .set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, dnn_.handle)
                                  .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations_)
                                  .finish();
    find_plans(graph);
  }

  // The library's guesses, best first, as far as they can be built.
  void find_plans(const Descriptor& graph) {
    Descriptor heuristics(dnn_.f, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A).finish();
    std::vector<Descriptor> configs;
    std::vector<cudnnBackendDescriptor_t> handles;
    for (size_t i = 0; i < kMostAlgorithms; ++i) {
      configs.emplace_back(dnn_.f, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      handles.push_back(configs.back().get());
    }
    int64_t found = 0;
    if (dnn_.f.get(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(handles.size()), &found,
                   handles.data()) != CUDNN_STATUS_SUCCESS)
      throw Refused{};
    for (size_t i = 0; i < std::min(configs.size(), static_cast<size_t>(found)); ++i) {
      try {
        Descriptor plan(dnn_.f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, dnn_.handle).set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[i]).finish();
        int64_t bytes = 0, count = 0;
        if (dnn_.f.get(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes) != CUDNN_STATUS_SUCCESS) continue;
        plans_.push_back({std::move(configs[i]), std::move(plan), static_cast<size_t>(bytes)});
      } catch (const Refused&) {  // an engine that does not take it after all
      }
    }
  }

  const Cudnn& dnn_;
  const ConvolutionCall call_;
  std::vector<Descriptor> parts_;
  std::vector<cudnnBackendDescriptor_t> operations_;
  std::vector<Plan> plans_;
};

std::shared_ptr<const Convolution> Cudnn::convolution(const ConvolutionCall& c) {
  const std::vector<int64_t> key{c.images,
                                 c.height,
                                 c.width,
                                 c.channels,
                                 c.out_height,
                                 c.out_width,
                                 c.out_channels,
                                 c.kernel_height,
                                 c.kernel_width,
                                 c.stride,
                                 c.padding[0],
                                 c.padding[1],
                                 c.padding[2],
                                 c.padding[3],
                                 c.x_pitch,
                                 c.y_pitch,
                                 c.residual_pitch,
                                 c.image_bias_pitch,
                                 static_cast<int64_t>(c.dtype),
                                 c.act,
                                 c.bias,
                                 c.image_bias,
                                 c.residual};
  const std::lock_guard lock(mutex_);
  const auto [at, first] = kept_.emplace(key, nullptr);
  if (first) {
    auto made = std::make_shared<const CudnnConvolution>(*this, c);
    if (made->algorithms() > 0) at->second = std::move(made);
  }
  return at->second;
}

}  // namespace

std::unique_ptr<DnnLibrary> cudnn(const CudnnFunctions& functions) { return std::make_unique<Cudnn>(functions); }

std::unique_ptr<DnnLibrary> find_cudnn() {
  static const std::unique_ptr<const Library> library = find_library({"libcudnn.so.9"}, "install cuDNN 9");
  if (!library) return nullptr;
  CudnnFunctions f;
  library->find("cudnnCreate", f.create);
  library->find("cudnnDestroy", f.destroy);
  library->find("cudnnGetVersion", f.version);
  library->find("cudnnSetStream", f.set_stream);
  library->find("cudnnBackendCreateDescriptor", f.create_descriptor);
  library->find("cudnnBackendDestroyDescriptor", f.destroy_descriptor);
  library->find("cudnnBackendSetAttribute", f.set);
  library->find("cudnnBackendGetAttribute", f.get);
  library->find("cudnnBackendFinalize", f.finalize);
  library->find("cudnnBackendExecute", f.execute);
  return cudnn(f);
}

}  // namespace vivace::cuda
