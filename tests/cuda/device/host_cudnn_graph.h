// A graph of cuDNN's operations as the tests' functions understood it, and what it computes.
#pragma once

#include <cudnn.h>

#include <map>
#include <vector>

namespace vivace::cuda::host_cudnn {

struct TensorInfo {
  cudnnDataType_t type{};
  std::vector<int64_t> sizes, strides;
  int64_t id = 0;
  bool is_virtual = false, by_value = false;
  int64_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
};
enum class Kind : uint8_t { pointwise, convolution, attention };
struct Operation {
  Kind kind = Kind::pointwise;
  TensorInfo x, other, y;  // other: the weight, or a second operand; of attention the keys
  bool has_other = false;
  TensorInfo values;  // of attention
  int64_t scale_id = 0;
  int64_t strides[2] = {}, before[2] = {}, after[2] = {};
  cudnnPointwiseMode_t mode{};
};
using Graph = std::vector<Operation>;

// Where tensors lie, by id. `scale`: of attention.
void run(const Graph& graph, const std::map<int64_t, void*>& memory, double scale);

}  // namespace vivace::cuda::host_cudnn
