// Graphs of cuDNN's operations: descriptors, the library's plans for a graph, and their runs.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn.h"
#include "base/cache_folder.h"
#include "base/log.h"

namespace vivace::cuda {

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

  int64_t number(cudnnBackendAttributeName_t name) const {
    int64_t value = 0, count = 0;
    check(f_->get(handle_, name, CUDNN_TYPE_INT64, 1, &count, &value));
    return value;
  }
  // "" where the library has none.
  std::string text(cudnnBackendAttributeName_t name) const;
  // Of such a type, at most so many.
  std::vector<Descriptor> parts(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type, size_t most) const;

 private:
  static void check(cudnnStatus_t status) {
    if (status != CUDNN_STATUS_SUCCESS) throw Refused{};
  }

  const CudnnFunctions* f_;
  cudnnBackendDescriptor_t handle_ = nullptr;
};

inline cudnnDataType_t type_of(DType dtype) {
  return dtype == DType::float32 ? CUDNN_DATA_FLOAT : dtype == DType::bfloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

struct CudnnHandle {
  CudnnFunctions f;
  cudnnHandle_t handle = nullptr;
  CacheFolder cache{};           // of plans
  std::string machine{};         // that they are of
  mutable std::mutex running{};  // the handle's stream is set, then used
  mutable std::mutex lending{};  // of what follows
  mutable std::vector<cudnnHandle_t> builders{};
};

// A handle to build with, which is one thread's at a time. Throws Refused.
class CudnnBuilder {
 public:
  explicit CudnnBuilder(const CudnnHandle& dnn);
  ~CudnnBuilder();
  CudnnBuilder(const CudnnBuilder&) = delete;
  cudnnHandle_t handle() const { return handle_; }

 private:
  const CudnnHandle& dnn_;
  cudnnHandle_t handle_ = nullptr;
};

// Of one graph. Any thread may run it. Its plans are kept in the cache: a plan may be a kernel that the library compiles for seconds, and one that
// was kept is there in a millisecond.
class CudnnGraph {
 public:
  // `key`: equal texts, equal graphs.
  CudnnGraph(const CudnnHandle& dnn, std::string_view key) : dnn_(dnn), key_(cat(dnn.machine, '\n', key)) {
    parts_.reserve(32);  // what is handed on by reference stays where it is
  }

  enum class Where : uint8_t { memory, nowhere, host };  // nowhere: between two operations; host: one number, which is read when the plan runs
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                           Where where = Where::memory);
  Descriptor& part(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(dnn_.f, type); }
  void add_operation(Descriptor& operation) { operations_.push_back(operation.finish().get()); }
  // The first plan is there then. Throws Refused where there is none.
  void find_plans() const;

  // The library's guesses, best first, of those that can be built. Builds them up to that one.
  bool has(int algorithm) const;
  size_t workspace_bytes(int algorithm) const { return plan(algorithm).workspace; }
  // "" or what went wrong.
  std::string run(int algorithm, const std::vector<int64_t>& ids, const std::vector<const void*>& addresses, void* workspace,
                  DriverStream* stream) const;

 private:
  struct Plan {
    Descriptor plan;
    size_t workspace;
  };
  const Plan& plan(int algorithm) const;
  // The next plan, under building_; false where there is none.
  bool take_kept() const;
  bool build() const;
  // Of what the library says of a plan that it has built; false where it refuses that.
  bool take(std::string_view json) const;
  void take(Descriptor plan) const;
  std::string next_key() const { return cat(key_, "\nplan ", plans_.size()); }

  const CudnnHandle& dnn_;
  const std::string key_;
  std::vector<Descriptor> parts_;
  std::vector<cudnnBackendDescriptor_t> operations_;
  mutable std::mutex building_;  // of what follows
  mutable size_t tried_ = 0;     // of the guesses
  mutable std::deque<Plan> plans_;
};

// nullptr where the library has no plan for it. They keep `dnn` by reference.
std::shared_ptr<const Convolution> cudnn_convolution(const CudnnHandle& dnn, const ConvolutionCall& call, std::string_view key);
std::shared_ptr<const Attention> cudnn_attention(const CudnnHandle& dnn, const AttentionCall& call, std::string_view key);

}  // namespace vivace::cuda
