#include "backends/cuda/kernels/movement.h"

#include <algorithm>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

constexpr unsigned kThreads = 256;

// Enough blocks for every element, few enough that a block is worth its start.
unsigned grid_for(int64_t threads) { return std::clamp(blocks_for(threads, kThreads), 1u, 8192u); }

template <class Arguments>
Call<Arguments> flat(const Arguments& arguments, std::string function, std::string type, int64_t threads, std::string source = "movement.cuh") {
  return {{.source = std::move(source),
           .function = std::move(function),
           .arguments = std::move(type),
           .grid = {grid_for(threads), 1, 1},
           .block = kThreads},
          arguments};
}

// The type that is moved for units of so many bytes.
const char* unit_name(size_t bytes) {
  switch (bytes) {
    case 1:
      return "unsigned char";
    case 2:
      return "unsigned short";
    case 4:
      return "unsigned";
    case 8:
      return "unsigned long long";
    default:
      return "Wide<unsigned>";
  }
}

// Without dimensions of one entry, and with those made one that follow one another in both tensors. The last dimension is in memory as `bytes`.
StridedCopy simplified(StridedCopy copy) {
  StridedCopy y = copy;
  y.sizes.clear(), y.in_strides.clear(), y.out_strides.clear();
  for (size_t d = 0; d < copy.sizes.size(); ++d) {
    const int64_t n = copy.sizes[d], from = copy.in_strides[d], to = copy.out_strides[d];
    if (n == 1) continue;
    if (!y.sizes.empty() && y.in_strides.back() == n * from && y.out_strides.back() == n * to) {
      y.sizes.back() *= n;
      y.in_strides.back() = from;
      y.out_strides.back() = to;
    } else {
      y.sizes.push_back(n);
      y.in_strides.push_back(from);
      y.out_strides.push_back(to);
    }
  }
  // Wider units where rows are dense and everything is a multiple of them.
  const auto even = [](const Shape& strides) { return std::all_of(strides.begin(), strides.end() - 1, [](int64_t s) { return s % 2 == 0; }); };
  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
  while (!y.sizes.empty() && y.bytes < 16 && y.in_strides.back() == 1 && y.out_strides.back() == 1 && y.sizes.back() % 2 == 0 && even(y.in_strides) &&
         even(y.out_strides) && address(y.in) % (2 * y.bytes) == 0 && address(y.out) % (2 * y.bytes) == 0) {
    y.bytes *= 2;
    y.sizes.back() /= 2;
    for (Shape* strides : {&y.in_strides, &y.out_strides})
      for (size_t d = 0; d + 1 < strides->size(); ++d) (*strides)[d] /= 2;
  }
  return y;
}

// The last of six places are those of `values`, the others `filler`.
void put(const Shape& values, long long filler, long long (&to)[kMostDims]) {
  if (values.size() > kMostDims) throw InternalError("a CUDA kernel for tensors of more than six dimensions");
  std::fill_n(to, kMostDims, filler);
  std::copy(values.begin(), values.end(), to + kMostDims - static_cast<int64_t>(values.size()));
}

// What counts elements (movement.cuh).
const char* index_name(int64_t count) { return count < int64_t{1} << 31 ? "unsigned" : "long long"; }

// What kernels call a weight's dtype of 8 bits.
const char* narrow_name(DType dtype) { return dtype == DType::int8 ? "signed char" : "f8e4m3"; }

size_t widest_unit(int64_t bytes) { return bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : bytes % 4 == 0 ? 4 : bytes % 2 == 0 ? 2 : 1; }

// The number of a function of movement.cuh.
int function_of(Elementwise op) {
  constexpr int kActivate = 8;
  switch (op) {
    case Elementwise::add:
      return 0;
    case Elementwise::sub:
      return 1;
    case Elementwise::mul:
      return 2;
    case Elementwise::div:
      return 3;
    case Elementwise::exp:
      return 4;
    case Elementwise::rsqrt:
      return 5;
    case Elementwise::affine:
    case Elementwise::cast:
      return 6;
    case Elementwise::clamp:
      return 7;
    case Elementwise::silu:
      return kActivate + kSilu;
    case Elementwise::gelu:
      return kActivate + kGelu;
    case Elementwise::gelu_tanh:
      return kActivate + kGeluTanh;
    case Elementwise::quick_gelu:
      return kActivate + kQuickGelu;
    case Elementwise::relu:
      return kActivate + kRelu;
  }
  throw InternalError("no CUDA kernel for an elementwise op");
}

}  // namespace

Shape dense_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

Shape repeated_strides(const Shape& shape, const Shape& result) {
  Shape strides(result.size(), 0);
  const Shape dense = dense_strides(shape);
  const size_t skip = result.size() - shape.size();
  for (size_t d = 0; d < shape.size(); ++d) strides[skip + d] = shape[d] == 1 ? 0 : dense[d];
  return strides;
}

std::string refuse_copy(const StridedCopy& copy) {
  const size_t dims = simplified(copy).sizes.size();
  return dims > kMostDims ? cat("moves ", dims, " dimensions, at most ", kMostDims) : "";
}

Call<CopyArguments> make_copy(const StridedCopy& copy) {
  const StridedCopy c = simplified(copy);
  CopyArguments a{.in = c.in, .out = c.out, .count = numel(c.sizes)};
  put(c.sizes, 1, a.sizes);
  put(c.in_strides, 0, a.in_strides);
  put(c.out_strides, 0, a.out_strides);
  return flat(a, cat("strided_copy<", unit_name(c.bytes), ", ", index_name(a.count), ">"), "CopyArguments", a.count);
}

Call<ElementwiseArguments> make_elementwise(const ElementwiseCall& call) {
  const bool two = call.op == Elementwise::add || call.op == Elementwise::sub || call.op == Elementwise::mul || call.op == Elementwise::div;
  const bool cast = call.op == Elementwise::cast;
  ElementwiseArguments a{.in = {call.in[0], call.in[1]}, .out = call.out, .count = numel(call.shape), .a = cast ? 1 : call.a, .b = cast ? 0 : call.b};
  put(call.shape, 1, a.sizes);
  for (size_t i = 0; i < (two ? 2 : 1); ++i) put(repeated_strides(call.in_shapes[i], call.shape), 0, a.strides[i]);
  const auto type = [](DType dtype) { return type_name(dtype); };
  return flat(a,
              cat("elementwise<", function_of(call.op), ", ", type(call.in_dtypes[0]), ", ", type(call.in_dtypes[two ? 1 : 0]), ", ",
                  type(call.dtype), ", ", index_name(a.count), ">"),
              "ElementwiseArguments", a.count);
}

Call<GatherArguments> make_gather(const GatherArguments& a) {
  const size_t unit = widest_unit(a.row_bytes);
  const int64_t count = a.rows * a.row_bytes / static_cast<int64_t>(unit);
  return flat(a, cat("gather<", unit_name(unit), ", ", index_name(count), ">"), "GatherArguments", count);
}

Call<UpsampleArguments> make_upsample(const UpsampleArguments& a) {
  const size_t unit = widest_unit(a.pixel_bytes);
  const int64_t count = a.images * a.out_height * a.out_width * a.pixel_bytes / static_cast<int64_t>(unit);
  return flat(a, cat("upsample<", unit_name(unit), ", ", index_name(count), ">"), "UpsampleArguments", count);
}

Call<FindArguments> make_find(const FindArguments& a) { return flat(a, "find", "FindArguments", a.rows); }

Call<ReduceArguments> make_reduce(Op op, const Shape& shape, std::span<const int64_t> axes, const void* in, DType in_dtype, void* out, DType dtype) {
  ReduceArguments a{.in = in, .out = out};
  Shape sizes[2], strides[2];  // kept, reduced
  const Shape dense = dense_strides(shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    const size_t which = std::ranges::count(axes, static_cast<int64_t>(d)) ? 1 : 0;
    sizes[which].push_back(shape[d]);
    strides[which].push_back(dense[d]);
  }
  put(sizes[0], 1, a.kept_sizes);
  put(strides[0], 0, a.kept_strides);
  put(sizes[1], 1, a.reduced_sizes);
  put(strides[1], 0, a.reduced_strides);
  a.count = numel(sizes[0]);
  a.reduced = numel(sizes[1]);
  a.factor = op == Op::reduce_mean ? 1.f / static_cast<float>(a.reduced) : 1.f;
  return flat(a, cat("reduce<", type_name(in_dtype), ", ", type_name(dtype), ", ", op == Op::reduce_max ? "true" : "false", ">"), "ReduceArguments",
              a.count * 32);
}

Call<DequantizeArguments> make_dequantize(const DequantizeArguments& a, DType in, DType out) {
  return flat(a, cat("dequantize<", narrow_name(in), ", ", type_name(out), ">"), "DequantizeArguments", a.rows * a.columns);
}

Call<QuantizeWeightArguments> make_quantize_weight(const QuantizeWeightArguments& a, DType in, DType out) {
  return {{.source = "quantize.cuh",
           .function = cat("quantize_weight<", type_name(in), ", ", narrow_name(out), ">"),
           .arguments = "QuantizeWeightArguments",
           .grid = {static_cast<unsigned>(a.rows), 1, 1},
           .block = kThreads,
           .shared = static_cast<unsigned>((a.columns + 7) / 8 * 8 + 64) * 4},
          a};
}

Call<TableArguments> make_table(TableKind kind, const TableArguments& a, DType dtype) {
  const std::string function = kind == kFill          ? cat("fill<", type_name(dtype), ">")
                               : kind == kCausalMask  ? "causal_mask"
                               : kind == kSinusoid    ? "sinusoid"
                               : kind == kRotaryTable ? "rotary_table"
                                                      : cat("relative_position_bias<", type_name(dtype), ">");
  return flat(a, function, "TableArguments", a.count, "tables.cuh");
}

}  // namespace vivace::cuda
