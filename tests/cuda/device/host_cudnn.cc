// cuDNN's graph API by plain arithmetic, from the very descriptors that were set: tensors with strides and ids, a convolution, and the pointwise
// operations behind it through tensors that are nowhere in memory, or attention. What the library would refuse is refused.
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "backends/cuda/cudnn.h"
#include "host_cudnn_graph.h"
#include "host_driver.h"

namespace vivace::cuda {
namespace {

using namespace host_cudnn;

thread_local HostDriver* t_opening = nullptr;  // whose library is being opened, or that of the GPU that was entered

// Plans that were told as text, in the place of what is in a real one.
std::mutex g_told_mutex;
std::vector<std::shared_ptr<const Graph>> g_told;

struct Attribute {
  cudnnBackendAttributeType_t type;
  int64_t count;
  std::vector<char> bytes;
};
struct Descriptor {
  cudnnBackendDescriptorType_t type;
  std::map<cudnnBackendAttributeName_t, Attribute> attributes;
  bool finished = false;
  TensorInfo tensor;
  Operation operation;
  std::shared_ptr<const Graph> graph;

  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<T> values(static_cast<size_t>(found->second.count));
    std::memcpy(values.data(), found->second.bytes.data(), values.size() * sizeof(T));
    return values;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name, T otherwise = {}) const {
    const auto found = attributes.find(name);
    if (found != attributes.end()) std::memcpy(&otherwise, found->second.bytes.data(), sizeof(T));
    return otherwise;
  }
  const Descriptor* part(cudnnBackendAttributeName_t name) const { return one<const Descriptor*>(name); }
};

Descriptor& of(cudnnBackendDescriptor_t handle) { return *static_cast<Descriptor*>(handle); }

size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
      return 1;
    case CUDNN_TYPE_FLOAT:
      return sizeof(float);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return 8;
    default:
      return sizeof(int);
  }
}

bool finish_tensor(Descriptor& d) {
  d.tensor = {d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE), d.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS),
              d.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES),           d.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID),
              d.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL),           d.one<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE)};
  return d.tensor.id > 0 && d.tensor.sizes.size() == 4 && d.tensor.strides.size() == 4 && d.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) > 0;
}

bool finish_convolution(Descriptor& d) {
  const Descriptor *x = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X), *w = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W),
                   *y = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y), *how = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  if (!x || !w || !y || !how || !x->finished || !w->finished || !y->finished || !how->finished) return false;
  Operation& o = d.operation;
  o = {.kind = Kind::convolution, .x = x->tensor, .other = w->tensor, .y = y->tensor, .has_other = true};
  const auto strides = how->all<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), before = how->all<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
             after = how->all<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS), dilations = how->all<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS);
  if (how->one<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2 || strides.size() != 2 || before.size() != 2 || after.size() != 2 ||
      dilations != std::vector<int64_t>{1, 1} ||
      how->one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CONVOLUTION) != CUDNN_CROSS_CORRELATION)
    return false;
  for (size_t i = 0; i < 2; ++i) {
    o.strides[i] = strides[i], o.before[i] = before[i], o.after[i] = after[i];
    if (o.y.sizes[2 + i] != (o.x.sizes[2 + i] + before[i] + after[i] - o.other.sizes[2 + i]) / strides[i] + 1) return false;
  }
  return d.one<float>(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA) == 1 && d.one<float>(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 1) == 0 &&
         o.x.sizes[0] == o.y.sizes[0] && o.x.sizes[1] == o.other.sizes[1] && o.other.sizes[0] == o.y.sizes[1] && o.x.type == o.other.type;
}

bool finish_pointwise(Descriptor& d) {
  const Descriptor *x = d.part(CUDNN_ATTR_OPERATION_POINTWISE_XDESC), *b = d.part(CUDNN_ATTR_OPERATION_POINTWISE_BDESC),
                   *y = d.part(CUDNN_ATTR_OPERATION_POINTWISE_YDESC), *what = d.part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  if (!x || !y || !what || !what->finished || what->one<cudnnDataType_t>(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_HALF) != CUDNN_DATA_FLOAT)
    return false;
  d.operation = {.x = x->tensor, .y = y->tensor, .has_other = b != nullptr, .mode = what->one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE)};
  if (b) d.operation.other = b->tensor;
  if ((d.operation.mode == CUDNN_POINTWISE_ADD) != (b != nullptr) || x->tensor.sizes != y->tensor.sizes) return false;
  for (size_t i = 0; b && i < 4; ++i)
    if (b->tensor.sizes[i] != 1 && b->tensor.sizes[i] != y->tensor.sizes[i]) return false;
  return true;
}

constexpr auto kAttention = static_cast<cudnnBackendDescriptorType_t>(41);  // CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR
bool finish_attention(Descriptor& d) {
  const Descriptor* part[5];  // q, k, v, result, scale
  for (int i = 0; i < 5; ++i) {
    part[i] = d.part(static_cast<cudnnBackendAttributeName_t>(i < 4 ? 2800 + i : 2805));  // CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC and on
    if (!part[i] || !part[i]->finished || part[i]->tensor.by_value != (i == 4) || part[i]->tensor.is_virtual) return false;
  }
  const TensorInfo &q = part[0]->tensor, &k = part[1]->tensor, &v = part[2]->tensor, &y = part[3]->tensor;
  for (int i = 0; i < 4; ++i)
    if (part[i]->tensor.type != q.type || q.type == CUDNN_DATA_FLOAT || part[i]->tensor.strides[3] != 1 || part[i]->tensor.sizes[3] % 8) return false;
  d.operation = {.kind = Kind::attention, .x = q, .other = k, .y = y, .has_other = true, .values = v, .scale_id = part[4]->tensor.id};
  const auto same = [](const TensorInfo& a, const TensorInfo& b, std::initializer_list<size_t> dims) {
    return std::ranges::all_of(dims, [&](size_t i) { return a.sizes[i] == b.sizes[i]; });
  };
  return same(q, k, {0, 1, 3}) && same(k, v, {0, 1, 2}) && same(q, y, {0, 1, 2}) && same(v, y, {3});
}

// Each operation but the first reads what the one before it made, which is nowhere in memory.
bool finish_graph(Descriptor& d) {
  auto graph = std::make_shared<Graph>();
  for (const Descriptor* op : d.all<const Descriptor*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    if (!op->finished ||
        (graph->empty() ? op->operation.kind == Kind::pointwise : op->operation.x.id != graph->back().y.id || !graph->back().y.is_virtual))
      return false;
    graph->push_back(op->operation);
  }
  d.graph = graph;
  return !graph->empty() && !graph->back().y.is_virtual && d.one<void*>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE) != nullptr;
}

// Channels last, with something between two pixels.
bool has_pitch(const Graph& graph) {
  const auto pitched = [](const TensorInfo& t) {
    return !t.by_value && t.sizes.size() == 4 && t.strides[0] != t.sizes[1] * t.sizes[2] * t.sizes[3] && t.sizes[0] * t.sizes[2] * t.sizes[3] > 1;
  };
  return std::ranges::any_of(
      graph, [&](const Operation& o) { return o.kind != Kind::attention && (pitched(o.x) || pitched(o.y) || (o.has_other && pitched(o.other))); });
}

bool has_image_bias(const Graph& graph) {
  return std::ranges::any_of(graph, [](const Operation& o) {
    return o.kind == Kind::pointwise && o.has_other && o.other.sizes[0] > 1 && o.other.sizes[2] * o.other.sizes[3] == 1;
  });
}

cudnnStatus_t CUDNNWINAPI create(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(new std::pair<HostDriver*, cudaStream_t>(t_opening ? t_opening : &HostDriver::entered(), nullptr));
  return CUDNN_STATUS_SUCCESS;
}
std::pair<HostDriver*, cudaStream_t>& of(cudnnHandle_t handle) { return *reinterpret_cast<std::pair<HostDriver*, cudaStream_t>*>(handle); }
cudnnStatus_t CUDNNWINAPI destroy(cudnnHandle_t handle) {
  delete &of(handle);
  return CUDNN_STATUS_SUCCESS;
}
size_t CUDNNWINAPI version() { return 91200; }
cudnnStatus_t CUDNNWINAPI set_stream(cudnnHandle_t handle, cudaStream_t stream) {
  of(handle).second = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t CUDNNWINAPI create_descriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  *descriptor = new Descriptor{.type = type};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t CUDNNWINAPI destroy_descriptor(cudnnBackendDescriptor_t descriptor) {
  delete &of(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t CUDNNWINAPI set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                              const void* values) {
  Descriptor& d = of(descriptor);
  if (d.finished) return CUDNN_STATUS_BAD_PARAM;
  const auto* bytes = static_cast<const char*>(values);
  d.attributes[name] = {type, count, {bytes, bytes + static_cast<size_t>(count) * size_of(type)}};
  return CUDNN_STATUS_SUCCESS;
}

// Of a configuration, or of the text of one that was.
bool finish_plan(Descriptor& d) {
  HostDriver& driver = *of(d.one<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE)).first;
  if (&driver != &HostDriver::entered()) return false;
  if (const auto text = d.all<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION); !text.empty()) {
    const std::lock_guard lock(g_told_mutex);
    size_t number = 0;
    std::istringstream(std::string(text.begin(), text.end())) >> number;
    d.graph = number < g_told.size() ? g_told[number] : nullptr;
    return d.graph != nullptr;
  }
  d.graph = d.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->graph;
  driver.count_dnn_plan();
  return d.graph && !(driver.options().packed_tensors && has_pitch(*d.graph)) && (driver.options().image_biases || !has_image_bias(*d.graph));
}

cudnnStatus_t CUDNNWINAPI finish(cudnnBackendDescriptor_t descriptor) {
  Descriptor& d = of(descriptor);
  bool good = true;
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) good = finish_tensor(d);
  if (d.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) good = finish_convolution(d);
  if (d.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) good = finish_pointwise(d);
  if (d.type == kAttention) good = finish_attention(d);
  if (d.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) good = finish_graph(d);
  if (d.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) good = (d.graph = d.part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->graph) != nullptr;
  if (d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) good = finish_plan(d);
  d.finished = good;
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

// Two configurations; a plan wants no workspace.
cudnnStatus_t CUDNNWINAPI get(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t,
                              int64_t wanted, int64_t* count, void* values) {
  if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) {
    const std::lock_guard lock(g_told_mutex);
    auto at = std::ranges::find(g_told, of(descriptor).graph);
    if (at == g_told.end()) at = g_told.insert(at, of(descriptor).graph);
    const std::string text = std::to_string(at - g_told.begin());
    if (values) std::memcpy(values, text.data(), std::min(text.size(), static_cast<size_t>(wanted)));
    *count = std::ssize(text);
    return CUDNN_STATUS_SUCCESS;
  }
  if (wanted < 1) return CUDNN_STATUS_BAD_PARAM;
  *count = 1;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    *count = std::min<int64_t>(wanted, 2);
    for (int64_t i = 0; i < *count; ++i) {
      Descriptor& config = of(static_cast<cudnnBackendDescriptor_t*>(values)[i]);
      config.graph = of(descriptor).graph;
      config.finished = true;
    }
    return CUDNN_STATUS_SUCCESS;
  }
  if (name != CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) return CUDNN_STATUS_NOT_SUPPORTED;
  *static_cast<int64_t*>(values) = 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t CUDNNWINAPI execute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  const Descriptor &p = of(plan), &v = of(pack);
  const auto ids = v.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = v.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  if (!p.finished || !v.finished || ids.size() != pointers.size()) return CUDNN_STATUS_BAD_PARAM;
  std::map<int64_t, void*> memory;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!pointers[i] || reinterpret_cast<uintptr_t>(pointers[i]) % 16) return CUDNN_STATUS_BAD_PARAM;
    memory[ids[i]] = pointers[i];
  }
  const auto known = [&](const TensorInfo& t) { return t.is_virtual || memory.contains(t.id); };
  double scale = 1;  // the host's, which is read now
  for (const Operation& o : *p.graph) {
    if (!known(o.x) || !known(o.y) || (o.has_other && !known(o.other))) return CUDNN_STATUS_BAD_PARAM;
    if (o.kind != Kind::attention) continue;
    if (!known(o.values) || !memory.contains(o.scale_id)) return CUDNN_STATUS_BAD_PARAM;
    scale = *static_cast<const float*>(memory[o.scale_id]);
  }
  const auto& [driver, stream] = of(handle);
  const Status status = driver->put(reinterpret_cast<DriverStream*>(stream), [graph = p.graph, memory, scale] {
    run(*graph, memory, scale);
    return kSuccess;
  });
  return status == kSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace

std::unique_ptr<DnnLibrary> host_dnn(HostDriver& driver) {
  t_opening = &driver;
  CudnnFunctions f;
  f.create = create;
  f.destroy = destroy;
  f.version = version;
  f.set_stream = set_stream;
  f.create_descriptor = create_descriptor;
  f.destroy_descriptor = destroy_descriptor;
  f.set = set;
  f.get = get;
  f.finalize = finish;
  f.execute = execute;
  auto library = cudnn(f, driver.options().dnn_plans, "a host");
  t_opening = nullptr;
  return library;
}

}  // namespace vivace::cuda
