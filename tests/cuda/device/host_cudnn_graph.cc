#include "host_cudnn_graph.h"

#include <algorithm>
#include <cmath>

#include "backends/ref/element.h"
#include "tf32.h"

namespace vivace::cuda::host_cudnn {
namespace {

DType dtype_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT ? DType::float32 : type == CUDNN_DATA_BFLOAT16 ? DType::bfloat16 : DType::float16;
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
          all.push_back(t.type == CUDNN_DATA_FLOAT ? tf32(x) : static_cast<float>(x));
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

// Rows of [images, heads, rows, columns].
void attend(const Operation& o, Values& values, double scale) {
  int64_t at[4];
  std::vector<double> weights(static_cast<size_t>(o.other.sizes[2]));
  for (at[0] = 0; at[0] < o.y.sizes[0]; ++at[0])
    for (at[1] = 0; at[1] < o.y.sizes[1]; ++at[1])
      for (at[2] = 0; at[2] < o.y.sizes[2]; ++at[2]) {
        double most = -INFINITY, sum = 0;
        for (int64_t key = 0; key < o.other.sizes[2]; ++key) {
          double score = 0;
          for (at[3] = 0; at[3] < o.x.sizes[3]; ++at[3]) score += values.load(o.x, at) * values.load(o.other, {at[0], at[1], key, at[3]});
          most = std::max(most, weights[static_cast<size_t>(key)] = score * scale);
        }
        for (double& w : weights) sum += w = std::exp(w - most);
        for (at[3] = 0; at[3] < o.y.sizes[3]; ++at[3]) {
          double y = 0;
          for (int64_t key = 0; key < o.other.sizes[2]; ++key)
            y += weights[static_cast<size_t>(key)] * values.load(o.values, {at[0], at[1], key, at[3]});
          values.store(o.y, at, y / sum);
        }
      }
}

}  // namespace

void run(const Graph& graph, const std::map<int64_t, void*>& memory, double scale) {
  Values values{{}, memory};
  for (const Operation& o : graph) {
    if (o.y.is_virtual) values.inner[o.y.id].resize(static_cast<size_t>(o.y.count()));
    if (o.kind == Kind::convolution)
      convolve(o, values);
    else if (o.kind == Kind::attention)
      attend(o, values, scale);
    else
      point_by_point(o, values);
  }
}

}  // namespace vivace::cuda::host_cudnn
