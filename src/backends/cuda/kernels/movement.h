// Launches of what moves elements, of elementwise ops with any repetition of their inputs, of reductions and of tables (movement.cuh, tables.cuh).
#pragma once

#include <span>

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"
#include "ir/op.h"
#include "vivace/tensor.h"

namespace vivace::cuda {

// out[i] = in[i . in_strides] for every i of `sizes`; strides in elements of `bytes` bytes. Merges dimensions and moves up to 16 bytes at a time
// where it can, so the pointers are to be aligned as the sizes suggest. refuse: more dimensions than kMostDims that do not merge.
struct StridedCopy {
  const void* in = nullptr;
  void* out = nullptr;
  Shape sizes, in_strides, out_strides;
  size_t bytes = 4;
};
std::string refuse_copy(const StridedCopy& copy);
Call<CopyArguments> make_copy(const StridedCopy& copy);
// The strides of a dense tensor.
Shape dense_strides(const Shape& shape);
// Those of a tensor of `shape` that is repeated to `result` by NumPy's rules: 0 where it is repeated.
Shape repeated_strides(const Shape& shape, const Shape& result);

// One op of the table on dense inputs of these shapes. Of the attributes: scale and shift, or min and max.
struct ElementwiseCall {
  Elementwise op{};
  const void* in[2] = {};
  void* out = nullptr;
  Shape in_shapes[2], shape;
  DType in_dtypes[2] = {}, dtype{};
  float a = 1, b = 0;
};
Call<ElementwiseArguments> make_elementwise(const ElementwiseCall& call);

Call<GatherArguments> make_gather(const GatherArguments& arguments);
Call<UpsampleArguments> make_upsample(const UpsampleArguments& arguments);
Call<FindArguments> make_find(const FindArguments& arguments);

// Op::reduce_mean, reduce_sum or reduce_max over `axes` of a dense tensor of `shape`.
Call<ReduceArguments> make_reduce(Op op, const Shape& shape, std::span<const int64_t> axes, const void* in, DType in_dtype, void* out, DType dtype);

// `in`: int8 or float8_e4m3.
Call<DequantizeArguments> make_dequantize(const DequantizeArguments& arguments, DType in, DType out);
// `in`: a float dtype; `out`: int8 or float8_e4m3. At most 24,000 columns.
Call<QuantizeWeightArguments> make_quantize_weight(const QuantizeWeightArguments& arguments, DType in, DType out);

// dtype: of the result, for kFill; of the table that is read, for kRelativePositionBias.
Call<TableArguments> make_table(TableKind kind, const TableArguments& arguments, DType dtype);

}  // namespace vivace::cuda
