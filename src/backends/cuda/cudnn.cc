#include "backends/cuda/cudnn.h"

#include <bit>
#include <initializer_list>
#include <map>
#include <mutex>

#include "backends/cuda/cudnn_graph.h"
#include "backends/cuda/library.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

// What was built, by the call's values. Different ones may be built at once.
template <class Built>
class Kept {
 public:
  template <class Build>
  std::shared_ptr<const Built> find(const std::string& key, const Build& build) {
    std::shared_ptr<One> one;
    {
      const std::lock_guard lock(mutex_);
      std::shared_ptr<One>& found = kept_[key];
      if (!found) found = std::make_shared<One>();
      one = found;
    }
    std::call_once(one->once, [&] { one->built = build(); });
    return one->built;
  }
  void clear() { kept_.clear(); }

 private:
  struct One {
    std::once_flag once;
    std::shared_ptr<const Built> built;
  };
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<One>> kept_;
};

std::string key_of(std::string_view what, std::initializer_list<int64_t> values) {
  std::string key(what);
  for (const int64_t value : values) key += cat(' ', value);
  return key;
}

class Cudnn final : public DnnLibrary {
 public:
  Cudnn(const CudnnFunctions& functions, const CacheFolder& cache, const std::string& machine)
      : dnn_{.f = functions, .cache = cache, .machine = cat("cuDNN ", functions.version(), '\n', machine)} {
    if (const cudnnStatus_t status = dnn_.f.create(&dnn_.handle); status != CUDNN_STATUS_SUCCESS)
      throw UserError(cat("cuda: ", version(), " cannot be opened, with status ", static_cast<int>(status)));
  }
  ~Cudnn() override {
    convolutions_.clear();
    attentions_.clear();
    for (cudnnHandle_t builder : dnn_.builders) dnn_.f.destroy(builder);
    dnn_.f.destroy(dnn_.handle);
  }
  std::string version() const override { return cat("cuDNN ", dnn_.f.version()); }

  std::shared_ptr<const Convolution> convolution(const ConvolutionCall& c) override {
    const std::string key = key_of("convolution", {c.images,
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
                                                   c.residual});
    return convolutions_.find(key, [&] { return cudnn_convolution(dnn_, c, key); });
  }
  std::shared_ptr<const Attention> attention(const AttentionCall& c) override {
    const std::string key =
        key_of("attention", {c.images, c.heads, c.queries, c.keys, c.head_size, c.value_size, c.q_image, c.k_image, c.v_image, c.y_image, c.q_row,
                             c.k_row, c.v_row, c.y_row, static_cast<int64_t>(c.dtype), std::bit_cast<int32_t>(c.scale)});
    return attentions_.find(key, [&] { return cudnn_attention(dnn_, c, key); });
  }

 private:
  CudnnHandle dnn_;
  Kept<Convolution> convolutions_;
  Kept<Attention> attentions_;
};

}  // namespace

std::unique_ptr<DnnLibrary> cudnn(const CudnnFunctions& functions, const CacheFolder& cache, const std::string& machine) {
  return std::make_unique<Cudnn>(functions, cache, machine);
}

std::unique_ptr<DnnLibrary> find_cudnn(const std::string& machine) {
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
  return cudnn(f, CacheFolder{CacheOptions{}}, machine);
}

}  // namespace vivace::cuda
