// Graphs of cuDNN's operations: descriptors, the library's plans for a graph, and their runs.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn.h"

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
  mutable std::mutex running{};  // the handle's stream is set, then used
};

// Of one graph. Any thread may run it.
class CudnnGraph {
 public:
  explicit CudnnGraph(const CudnnHandle& dnn) : dnn_(dnn) {
    parts_.reserve(32);  // what is handed on by reference stays where it is
  }

  enum class Where : uint8_t { memory, nowhere, host };  // nowhere: between two operations; host: one number, which is read when the plan runs
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                           Where where = Where::memory);
  Descriptor& part(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(dnn_.f, type); }
  void add_operation(Descriptor& operation) { operations_.push_back(operation.finish().get()); }
  // The library's guesses, best first. Builds the first that can be built: a plan may be a kernel that the library compiles now. Throws Refused.
  void find_plans();

  // Builds the guesses up to that one, of those that can be built.
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

  const CudnnHandle& dnn_;
  std::vector<Descriptor> parts_;
  std::vector<cudnnBackendDescriptor_t> operations_;
  std::vector<Descriptor> configs_;
  mutable std::mutex building_;  // of what follows
  mutable size_t tried_ = 0;     // of the configs
  mutable std::deque<Plan> plans_;
};

// nullptr where the library has no plan for it. They keep `dnn` by reference.
std::shared_ptr<const Convolution> cudnn_convolution(const CudnnHandle& dnn, const ConvolutionCall& call);
std::shared_ptr<const Attention> cudnn_attention(const CudnnHandle& dnn, const AttentionCall& call);

}  // namespace vivace::cuda
