// cuDNN's graph API by plain arithmetic, from the very descriptors that were set: tensors with strides and ids, a convolution, and the pointwise
// operations behind it through tensors that are nowhere in memory. What the library would refuse is refused.
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "backends/cuda/cudnn.h"
#include "backends/ref/element.h"
#include "host_driver.h"

namespace vivace::cuda {
namespace {

thread_local HostDriver* t_opening = nullptr;  // whose library is being opened

struct TensorInfo {
  cudnnDataType_t type{};
  std::vector<int64_t> sizes, strides;
  int64_t id = 0;
  bool is_virtual = false;
  int64_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
};
struct Operation {
  bool convolution = false;
  TensorInfo x, other, y;  // other: the weight, or a second operand
  bool has_other = false;
  int64_t strides[2] = {}, before[2] = {}, after[2] = {};
  cudnnPointwiseMode_t mode{};
};
using Graph = std::vector<Operation>;

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
DType dtype_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT ? DType::float32 : type == CUDNN_DATA_BFLOAT16 ? DType::bfloat16 : DType::float16;
}

size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
      return sizeof(bool);
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

// To ten bits of mantissa, ties away from zero.
double tf32(double x) {
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::round(std::ldexp(mantissa, 11)), exponent - 11);
}

double activated(double x, cudnnPointwiseMode_t mode) {
  switch (mode) {
    case CUDNN_POINTWISE_RELU_FWD:
      return std::fmax(x, 0);
    case CUDNN_POINTWISE_SWISH_FWD:
      return x / (1 + std::exp(-x));
    default:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  }
}

// Values of tensors by id while a graph runs: those that are nowhere in memory, and where the others are.
struct Values {
  std::map<int64_t, std::vector<float>> inner;
  std::map<int64_t, void*> memory;

  static int64_t place(const TensorInfo& t, const int64_t (&at)[4]) {
    int64_t p = 0;
    for (size_t d = 0; d < 4; ++d) p += (t.sizes[d] == 1 ? 0 : at[d]) * t.strides[d];
    return p;
  }
  double load(const TensorInfo& t, const int64_t (&at)[4]) const {
    if (t.is_virtual) return inner.at(t.id)[static_cast<size_t>(place(t, at))];
    return ref::load(dtype_of(t.type), memory.at(t.id), place(t, at));
  }
  void store(const TensorInfo& t, const int64_t (&at)[4], double value) {
    if (t.is_virtual)
      inner[t.id][static_cast<size_t>(place(t, at))] = static_cast<float>(value);
    else
      ref::store(dtype_of(t.type), memory.at(t.id), place(t, at), value);
  }
};

// Every value, channels last, as the products take them.
std::vector<float> channels_last(const TensorInfo& t, const Values& values) {
  std::vector<float> all;
  all.reserve(static_cast<size_t>(t.count()));
  int64_t at[4];
  for (at[0] = 0; at[0] < t.sizes[0]; ++at[0])
    for (at[2] = 0; at[2] < t.sizes[2]; ++at[2])
      for (at[3] = 0; at[3] < t.sizes[3]; ++at[3])
        for (at[1] = 0; at[1] < t.sizes[1]; ++at[1]) {
          const double x = values.load(t, at);
          all.push_back(static_cast<float>(t.type == CUDNN_DATA_FLOAT ? tf32(x) : x));
        }
  return all;
}

void convolve(const Operation& o, Values& values) {
  const std::vector<float> x = channels_last(o.x, values), w = channels_last(o.other, values);
  const int64_t channels = o.x.sizes[1], height = o.x.sizes[2], width = o.x.sizes[3], kh = o.other.sizes[2], kw = o.other.sizes[3];
  int64_t at[4];
  for (at[0] = 0; at[0] < o.y.sizes[0]; ++at[0])
    for (at[2] = 0; at[2] < o.y.sizes[2]; ++at[2])
      for (at[3] = 0; at[3] < o.y.sizes[3]; ++at[3])
        for (at[1] = 0; at[1] < o.y.sizes[1]; ++at[1]) {
          double sum = 0;
          for (int64_t r = 0; r < kh; ++r)
            for (int64_t s = 0; s < kw; ++s) {
              const int64_t h = at[2] * o.strides[0] + r - o.before[0], v = at[3] * o.strides[1] + s - o.before[1];
              if (h < 0 || h >= height || v < 0 || v >= width) continue;
              const float *px = &x[static_cast<size_t>(((at[0] * height + h) * width + v) * channels)],
                          *pw = &w[static_cast<size_t>(((at[1] * kh + r) * kw + s) * channels)];
              for (int64_t c = 0; c < channels; ++c) sum += static_cast<double>(px[c]) * pw[c];
            }
          values.store(o.y, at, sum);
        }
}

void point_by_point(const Operation& o, Values& values) {
  int64_t at[4];
  for (at[0] = 0; at[0] < o.y.sizes[0]; ++at[0])
    for (at[1] = 0; at[1] < o.y.sizes[1]; ++at[1])
      for (at[2] = 0; at[2] < o.y.sizes[2]; ++at[2])
        for (at[3] = 0; at[3] < o.y.sizes[3]; ++at[3]) {
          const double x = values.load(o.x, at);
          values.store(o.y, at, o.mode == CUDNN_POINTWISE_ADD ? x + values.load(o.other, at) : activated(x, o.mode));
        }
}

Status run(const Graph& graph, Values values) {
  for (const Operation& o : graph) {
    if (o.y.is_virtual) values.inner[o.y.id].resize(static_cast<size_t>(o.y.count()));
    if (o.convolution)
      convolve(o, values);
    else
      point_by_point(o, values);
  }
  return kSuccess;
}

bool finish_tensor(Descriptor& d) {
  d.tensor = {d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE), d.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS),
              d.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES), d.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID), d.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL)};
  return d.tensor.id > 0 && d.tensor.sizes.size() == 4 && d.tensor.strides.size() == 4 && d.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) > 0;
}

bool finish_convolution(Descriptor& d) {
  const Descriptor *x = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X), *w = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W),
                   *y = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y), *how = d.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  if (!x || !w || !y || !how || !x->finished || !w->finished || !y->finished || !how->finished) return false;
  Operation& o = d.operation;
  o = {.convolution = true, .x = x->tensor, .other = w->tensor, .y = y->tensor, .has_other = true};
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

// Each operation but the first reads what the one before it made, which is nowhere in memory.
bool finish_graph(Descriptor& d) {
  auto graph = std::make_shared<Graph>();
  for (const Descriptor* op : d.all<const Descriptor*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    if (!op->finished || (graph->empty() ? !op->operation.convolution : op->operation.x.id != graph->back().y.id || !graph->back().y.is_virtual))
      return false;
    graph->push_back(op->operation);
  }
  d.graph = graph;
  return !graph->empty() && !graph->back().y.is_virtual && d.one<void*>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE) != nullptr;
}

cudnnStatus_t CUDNNWINAPI create(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(new std::pair<HostDriver*, cudaStream_t>(t_opening, nullptr));
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

cudnnStatus_t CUDNNWINAPI finish(cudnnBackendDescriptor_t descriptor) {
  Descriptor& d = of(descriptor);
  bool good = true;
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) good = finish_tensor(d);
  if (d.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) good = finish_convolution(d);
  if (d.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) good = finish_pointwise(d);
  if (d.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) good = finish_graph(d);
  if (d.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) good = (d.graph = d.part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->graph) != nullptr;
  if (d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) good = (d.graph = d.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->graph) != nullptr;
  d.finished = good;
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

// One configuration; a plan wants no workspace.
cudnnStatus_t CUDNNWINAPI get(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t,
                              int64_t wanted, int64_t* count, void* values) {
  if (wanted < 1) return CUDNN_STATUS_BAD_PARAM;
  *count = 1;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    Descriptor& config = of(*static_cast<cudnnBackendDescriptor_t*>(values));
    config.graph = of(descriptor).graph;
    config.finished = true;
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
  Values values;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!pointers[i] || reinterpret_cast<uintptr_t>(pointers[i]) % 16) return CUDNN_STATUS_BAD_PARAM;
    values.memory[ids[i]] = pointers[i];
  }
  const auto known = [&](const TensorInfo& t) { return t.is_virtual || values.memory.contains(t.id); };
  for (const Operation& o : *p.graph)
    if (!known(o.x) || !known(o.y) || (o.has_other && !known(o.other))) return CUDNN_STATUS_BAD_PARAM;
  const auto& [driver, stream] = of(handle);
  const Status status = driver->put(reinterpret_cast<DriverStream*>(stream), [graph = p.graph, values] { return run(*graph, values); });
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
  return cudnn(f);
}

}  // namespace vivace::cuda
