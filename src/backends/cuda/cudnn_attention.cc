// Attention as cuDNN's one operation for it, which newer versions have; others refuse it.
#include "backends/cuda/cudnn_graph.h"

namespace vivace::cuda {
namespace {

// As newer headers than those that are needed name them.
constexpr auto kOperation = static_cast<cudnnBackendDescriptorType_t>(41);  // CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR
constexpr auto kOperationQ = static_cast<cudnnBackendAttributeName_t>(2800), kOperationK = static_cast<cudnnBackendAttributeName_t>(2801),
               kOperationV = static_cast<cudnnBackendAttributeName_t>(2802), kOperationO = static_cast<cudnnBackendAttributeName_t>(2803),
               kOperationScale = static_cast<cudnnBackendAttributeName_t>(2805);

enum Uid : int64_t { kQ = 1, kK, kV, kY, kScale };

class CudnnAttention final : public Attention {
 public:
  CudnnAttention(const CudnnHandle& dnn, const AttentionCall& c, std::string_view key) : scale_(c.scale), graph_(dnn, key) {
    // [images, heads, rows, columns] of rows in which heads lie side by side.
    const auto heads = [&](Uid id, int64_t rows, int64_t columns, int64_t image, int64_t row) -> const Descriptor& {
      return graph_.tensor(id, type_of(c.dtype), {c.images, c.heads, rows, columns}, {image, columns, row, 1});
    };
    const Descriptor& q = heads(kQ, c.queries, c.head_size, c.q_image, c.q_row);
    const Descriptor& k = heads(kK, c.keys, c.head_size, c.k_image, c.k_row);
    const Descriptor& v = heads(kV, c.keys, c.value_size, c.v_image, c.v_row);
    const Descriptor& y = heads(kY, c.queries, c.value_size, c.y_image, c.y_row);
    const Descriptor& scale = graph_.tensor(kScale, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, CudnnGraph::Where::host);
    graph_.add_operation(
        graph_.part(kOperation).set(kOperationQ, q).set(kOperationK, k).set(kOperationV, v).set(kOperationO, y).set(kOperationScale, scale));
    graph_.find_plans();
  }

  bool has(int algorithm) const override { return graph_.has(algorithm); }
  size_t workspace_bytes(int algorithm) const override { return graph_.workspace_bytes(algorithm); }
  std::string run(int algorithm, const Addresses& a, DriverStream* stream) const override {
    return graph_.run(algorithm, {kQ, kK, kV, kY, kScale}, {a.q, a.k, a.v, a.y, &scale_}, a.workspace, stream);
  }

 private:
  alignas(16) const float scale_;
  CudnnGraph graph_;
};

}  // namespace

std::shared_ptr<const Attention> cudnn_attention(const CudnnHandle& dnn, const AttentionCall& call, std::string_view key) {
  try {
    return std::make_shared<const CudnnAttention>(dnn, call, key);
  } catch (const Refused&) {
    return nullptr;
  }
}

}  // namespace vivace::cuda
