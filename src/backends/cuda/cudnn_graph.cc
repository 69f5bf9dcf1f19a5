#include "backends/cuda/cudnn_graph.h"

#include <charconv>
#include <iterator>

namespace vivace::cuda {
namespace {

constexpr size_t kMostAlgorithms = 8;
constexpr int64_t kAlignment = 16;

}  // namespace

std::string Descriptor::text(cudnnBackendAttributeName_t name) const {
  int64_t bytes = 0;
  if (f_->get(handle_, name, CUDNN_TYPE_CHAR, 0, &bytes, nullptr) != CUDNN_STATUS_SUCCESS || bytes <= 0) return "";
  std::string text(static_cast<size_t>(bytes), '\0');
  return f_->get(handle_, name, CUDNN_TYPE_CHAR, bytes, &bytes, text.data()) == CUDNN_STATUS_SUCCESS ? text : "";
}

std::vector<Descriptor> Descriptor::parts(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type, size_t most) const {
  std::vector<Descriptor> all;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (size_t i = 0; i < most; ++i) handles.push_back(all.emplace_back(*f_, type).get());
  int64_t found = 0;
  check(f_->get(handle_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(most), &found, handles.data()));
  while (std::ssize(all) > found) all.pop_back();
  return all;
}

CudnnBuilder::CudnnBuilder(const CudnnHandle& dnn) : dnn_(dnn) {
  {
    const std::lock_guard lock(dnn.lending);
    if (!dnn.builders.empty()) {
      handle_ = dnn.builders.back();
      dnn.builders.pop_back();
      return;
    }
  }
  if (dnn.f.create(&handle_) != CUDNN_STATUS_SUCCESS) throw Refused{};
}

CudnnBuilder::~CudnnBuilder() {
  const std::lock_guard lock(dnn_.lending);
  dnn_.builders.push_back(handle_);
}

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

void CudnnGraph::find_plans() const {
  if (!has(0)) throw Refused{};
}

bool CudnnGraph::has(int algorithm) const {
  const std::lock_guard lock(building_);
  while (std::ssize(plans_) <= algorithm && (take_kept() || build())) {
  }
  return algorithm < std::ssize(plans_);
}

// An entry is how many guesses were tried for it, and what the library says of the plan.
bool CudnnGraph::take_kept() const {
  const auto kept = dnn_.cache.read(cache_kind::kKernels, next_key());
  if (!kept) return false;
  size_t tried = 0;
  const char* const last = kept->data() + kept->size();
  const auto [end, error] = std::from_chars(kept->data(), last, tried);
  if (error != std::errc() || end == last || !take(std::string_view(end + 1, last))) return false;
  tried_ = tried;
  return true;
}

bool CudnnGraph::take(std::string_view json) const {
  try {
    Descriptor plan(dnn_.f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    const std::lock_guard lock(dnn_.running);
    take(std::move(plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, dnn_.handle)
                       .set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::vector<char>(json.begin(), json.end()))
                       .finish()));
    return true;
  } catch (const Refused&) {
    return false;
  }
}

void CudnnGraph::take(Descriptor plan) const {
  const int64_t bytes = plan.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  plans_.push_back({std::move(plan), static_cast<size_t>(bytes)});
}

bool CudnnGraph::build() const {
  try {
    const CudnnBuilder builder(dnn_);
    Descriptor graph(dnn_.f, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, builder.handle())
        .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations_)
        .finish();
    Descriptor heuristics(dnn_.f, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A).finish();
    const std::vector<Descriptor> configs = heuristics.parts(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, kMostAlgorithms);
    while (tried_ < configs.size()) {
      const Descriptor& config = configs[tried_++];
      try {
        Descriptor plan(dnn_.f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, builder.handle()).set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config).finish();
        const std::string json = plan.text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION), key = next_key();
        // As it will come from the cache, and so of the handle that it is run with.
        if (!json.empty() && take(json))
          dnn_.cache.write(cache_kind::kKernels, key, cat(tried_, ' ', json));
        else
          take(std::move(plan));
        return true;
      } catch (const Refused&) {  // an engine that does not take it after all
      }
    }
  } catch (const Refused&) {
  }
  return false;
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
    const Plan& built = plan(algorithm);  // ahead of the lock, which who builds one takes too
    const std::lock_guard lock(dnn_.running);
    dnn_.f.set_stream(dnn_.handle, reinterpret_cast<cudaStream_t>(stream));
    const cudnnStatus_t status = dnn_.f.execute(dnn_.handle, built.plan.get(), pack.get());
    return status == CUDNN_STATUS_SUCCESS ? "" : cat("cuDNN's status ", static_cast<int>(status));
  } catch (const Refused&) {
    return "cuDNN refuses the addresses";
  }
}

}  // namespace vivace::cuda
