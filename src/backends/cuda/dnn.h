// Convolutions and attention of a library, as the backend asks for them; cudnn.cc has them.
#pragma once

#include <memory>
#include <string>

#include "backends/cuda/driver.h"
#include "backends/cuda/kernels/arguments.cuh"

namespace vivace::cuda {

// y = act(conv(x, w) + bias + image_bias) + residual; activations NHWC, weights [O, kh, kw, I], bias and image_bias float32.
struct ConvolutionCall {
  int64_t images = 0, height = 0, width = 0, channels = 0;
  int64_t out_height = 0, out_width = 0, out_channels = 0;
  int64_t kernel_height = 0, kernel_width = 0, stride = 1;
  int64_t padding[4] = {};                                                     // top, left, bottom, right
  int64_t x_pitch = 0, y_pitch = 0, residual_pitch = 0, image_bias_pitch = 0;  // between pixels; of image_bias between images
  DType dtype{};                                                               // of x, w, y and residual
  Activation act = kIdentity;
  bool bias = false, image_bias = false, residual = false;
};

// With everything decided but the addresses. Any thread may run it.
class Convolution {
 public:
  virtual ~Convolution() = default;
  // Best first, as the library expects. Each is built when it is first asked for, which may take the library a second; the first is there.
  virtual bool has(int algorithm) const = 0;
  virtual size_t workspace_bytes(int algorithm) const = 0;
  struct Addresses {
    const void *x = nullptr, *w = nullptr, *bias = nullptr, *image_bias = nullptr, *residual = nullptr;
    void *y = nullptr, *workspace = nullptr;
  };
  // "" or what went wrong.
  virtual std::string run(int algorithm, const Addresses& addresses, DriverStream* stream) const = 0;
};

// y = softmax(scale q k^T) v, image by image and head by head; rows hold all heads side by side.
struct AttentionCall {
  int64_t images = 0, heads = 0, queries = 0, keys = 0, head_size = 0, value_size = 0;
  int64_t q_image = 0, k_image = 0, v_image = 0, y_image = 0, q_row = 0, k_row = 0, v_row = 0, y_row = 0;  // pitches
  DType dtype{};                                                                                           // bfloat16 or float16
  float scale = 1;
};

// As a Convolution.
class Attention {
 public:
  virtual ~Attention() = default;
  virtual bool has(int algorithm) const = 0;
  virtual size_t workspace_bytes(int algorithm) const = 0;
  struct Addresses {
    const void *q = nullptr, *k = nullptr, *v = nullptr;
    void *y = nullptr, *workspace = nullptr;
  };
  virtual std::string run(int algorithm, const Addresses& addresses, DriverStream* stream) const = 0;
};

class DnnLibrary {
 public:
  virtual ~DnnLibrary() = default;
  virtual std::string version() const = 0;
  // Kept by the call's values: equal calls are built once. nullptr where it has no plan for it.
  virtual std::shared_ptr<const Convolution> convolution(const ConvolutionCall& call) = 0;
  virtual std::shared_ptr<const Attention> attention(const AttentionCall& call) = 0;
};

// cuDNN; nullptr where this machine, or this build, lacks it. On the thread's GPU, which `machine` names with its driver.
std::unique_ptr<DnnLibrary> find_cudnn(const std::string& machine);

}  // namespace vivace::cuda
