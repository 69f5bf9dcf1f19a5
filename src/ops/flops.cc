#include "ops/flops.h"

#include "ops/infer.h"

namespace vivace {
namespace {

// Of a convolution with weights [O, I, ..] whose output is [.., O].
double convolution(const Shape& w, const Shape& out) {
  return 2.0 * static_cast<double>(numel(out)) * static_cast<double>(numel({w.begin() + 1, w.end()}));
}

}  // namespace

double flops(Op op, const Attrs& attrs, const std::function<const Shape&(size_t)>& in, const Shape& out) {
  switch (op) {
    case Op::linear:
      return 2.0 * static_cast<double>(numel(out)) * static_cast<double>(weight_features(attrs, in(1)));
    case Op::geglu_linear:
      return 4.0 * static_cast<double>(numel(out)) * static_cast<double>(weight_features(attrs, in(1)));
    case Op::matmul:
      return 2.0 * static_cast<double>(numel(out)) * static_cast<double>(in(0).back());
    case Op::conv2d:
    case Op::conv3d:
    case Op::upsample_conv2d:
      return convolution(in(1), out);
    case Op::attention:
      return 2.0 * static_cast<double>(in(0)[0] * in(0)[1] * in(1)[1]) * static_cast<double>(in(0)[2] + in(2)[2]);
    default:
      return 0;  // matrix products are what is counted
  }
}

}  // namespace vivace
