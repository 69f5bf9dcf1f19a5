// What ops cost in arithmetic.
#pragma once

#include <functional>

#include "ir/attrs.h"
#include "ir/op.h"
#include "vivace/tensor.h"

namespace vivace {

// Floating-point operations (2 a multiply-add) of matrix products, convolutions and attention, by the shapes; 0 for other ops.
// `in(i)` is the shape of input i.
double flops(Op op, const Attrs& attrs, const std::function<const Shape&(size_t)>& in, const Shape& out);

}  // namespace vivace
