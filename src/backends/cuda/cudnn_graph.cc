#include "backends/cuda/cudnn_graph.h"

#include <iterator>

#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr size_t kMostAlgorithms = 8;
constexpr int64_t kAlignment = 16;

}  // namespace

const Descriptor& CudnnGraph::tensor(int64_t id, cudnnDataType_t type, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                                     Where where) {
  Descriptor& made = part(CUDNN_BACKEND_TENSOR_DESCRIPTOR)
                         .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
                         .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, sizes)
                         .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides)
                         .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
                         .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment)
                         .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, where == Where::nowhere);
  if (where == Where::host) made.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, true);
  return made.finish();
}

void CudnnGraph::find_plans() {
  const Descriptor& graph = part(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
                                .set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, dnn_.handle)
                                .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations_)
                                .finish();
  Descriptor heuristics(dnn_.f, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A).finish();
  std::vector<cudnnBackendDescriptor_t> handles;
  for (size_t i = 0; i < kMostAlgorithms; ++i) {
    configs_.emplace_back(dnn_.f, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(configs_.back().get());
  }
  int64_t found = 0;
  if (dnn_.f.get(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(handles.size()), &found,
                 handles.data()) != CUDNN_STATUS_SUCCESS)
    throw Refused{};
  while (std::ssize(configs_) > found) configs_.pop_back();
  if (!has(0)) throw Refused{};
}

bool CudnnGraph::has(int algorithm) const {
  const std::lock_guard lock(building_);
  while (std::ssize(plans_) <= algorithm && tried_ < configs_.size()) {
    const Descriptor& config = configs_[tried_++];
    try {
      Descriptor plan(dnn_.f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, dnn_.handle).set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config).finish();
      int64_t bytes = 0, count = 0;
      if (dnn_.f.get(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes) != CUDNN_STATUS_SUCCESS) continue;
      plans_.push_back({std::move(plan), static_cast<size_t>(bytes)});
    } catch (const Refused&) {  // an engine that does not take it after all
    }
  }
  return algorithm < std::ssize(plans_);
}

const CudnnGraph::Plan& CudnnGraph::plan(int algorithm) const {
  const std::lock_guard lock(building_);
  return plans_[static_cast<size_t>(algorithm)];
}

std::string CudnnGraph::run(int algorithm, const std::vector<int64_t>& ids, const std::vector<const void*>& addresses, void* workspace,
                            DriverStream* stream) const {
  try {
    Descriptor pack(dnn_.f, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, addresses)
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace)
        .finish();
    const std::lock_guard lock(dnn_.running);
    dnn_.f.set_stream(dnn_.handle, reinterpret_cast<cudaStream_t>(stream));
    const cudnnStatus_t status = dnn_.f.execute(dnn_.handle, plan(algorithm).plan.get(), pack.get());
    return status == CUDNN_STATUS_SUCCESS ? "" : cat("cuDNN's status ", static_cast<int>(status));
  } catch (const Refused&) {
    return "cuDNN refuses the addresses";
  }
}

}  // namespace vivace::cuda
