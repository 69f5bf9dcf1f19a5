// attention with its scores in memory: two GEMMs and a softmax, an image after the other. What flash attention is compared with.
#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/gemm.h"
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr size_t kMask = 3;

struct Sizes {
  int64_t images, queries, keys, heads, head, value;
  explicit Sizes(const KernelCall& call)
      : images(call.in[0]->shape[0]),
        queries(call.in[0]->shape[1]),
        keys(call.in[1]->shape[1]),
        heads(call.attrs->integer("heads")),
        head(call.in[0]->shape[2] / heads),
        value(call.in[2]->shape[2] / heads) {}
  int64_t scores() const { return heads * queries * keys; }
};

// Scores, then probabilities in the activations' dtype, of one image; the causal mask.
size_t workspace(const KernelCall& call) {
  const Sizes s(call);
  const int64_t mask = call.attrs->integer("causal") ? s.queries * s.keys : 0;
  return static_cast<size_t>((s.scores() + mask) * 4 + s.scores() * static_cast<int64_t>(dtype_size(call.in[0]->dtype)));
}

// [heads, queries, keys]: y = op(x, mask), whose rows lie at distances of their own.
Call<ElementwiseArguments> over_scores(Elementwise op, const Sizes& s, const void* x, const void* mask, int64_t mask_head, void* y, float scale) {
  const Shape shape{s.heads, s.queries, s.keys};
  auto call = make_elementwise({.op = op,
                                .in = {x, mask},
                                .out = y,
                                .in_shapes = {shape, shape},
                                .shape = shape,
                                .in_dtypes = {DType::float32, DType::float32},
                                .dtype = DType::float32,
                                .a = scale});
  call.arguments.strides[1][kMostDims - 3] = mask_head;
  return call;
}

std::unique_ptr<BoundKernel> bind_math(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  const Sizes s(call);
  const DType dtype = call.in[0]->dtype;
  const auto part = [&](size_t i, int64_t image) {
    return static_cast<const char*>(buffers.in[i]) + image * call.in[i]->shape[1] * call.in[i]->row_pitch() * static_cast<int64_t>(dtype_size(dtype));
  };
  auto* const scores = static_cast<float*>(buffers.workspace);
  float* const causal = scores + s.scores();
  void* const probabilities = causal + (call.attrs->integer("causal") ? s.queries * s.keys : 0);
  auto all = std::make_unique<Launches>(driver);
  if (call.attrs->integer("causal"))
    all->add(make_table(kCausalMask, {.out = causal, .count = s.queries * s.keys, .columns = static_cast<int>(s.keys)}, DType::float32));
  for (int64_t image = 0; image < s.images; ++image) {
    all->add(make_gemm({.x = part(0, image),
                        .w = part(1, image),
                        .y = scores,
                        .rows = s.queries,
                        .x_pitch = call.in[0]->row_pitch(),
                        .w_pitch = call.in[1]->row_pitch(),
                        .w_step = 1,
                        .y_pitch = s.keys,
                        .x_batch = s.head,
                        .w_batch = s.head,
                        .y_batch = s.queries * s.keys,
                        .columns = static_cast<int>(s.keys),
                        .k = static_cast<int>(s.head)},
                       {.x = dtype, .y = DType::float32, .bias = DType::float32, .matrices = s.heads}));
    all->add(over_scores(Elementwise::affine, s, scores, nullptr, 0, scores, static_cast<float>(call.attrs->real("scale"))));
    if (call.has(kMask)) {
      const Shape& mask = call.in[kMask]->shape;
      const int64_t one = s.queries * s.keys, heads = mask.size() == 4 ? mask[1] : 1, images = mask.size() == 4 ? mask[0] : 1;
      const float* of_image = static_cast<const float*>(buffers.in[kMask]) + (images == 1 ? 0 : image * heads * one);
      all->add(over_scores(Elementwise::add, s, scores, of_image, heads == 1 ? 0 : one, scores, 1));
    }
    if (call.attrs->integer("causal")) all->add(over_scores(Elementwise::add, s, scores, causal, 0, scores, 1));
    all->add(make_softmax({.x = scores, .y = probabilities, .rows = s.heads * s.queries, .columns = s.keys, .x_pitch = s.keys, .y_pitch = s.keys},
                          DType::float32, dtype));
    all->add(make_gemm({.x = probabilities,
                        .w = part(2, image),
                        .y = static_cast<char*>(buffers.out) + image * s.queries * call.out.row_pitch() * static_cast<int64_t>(dtype_size(dtype)),
                        .rows = s.queries,
                        .x_pitch = s.keys,
                        .w_pitch = 1,
                        .w_step = call.in[2]->row_pitch(),
                        .y_pitch = call.out.row_pitch(),
                        .x_batch = s.queries * s.keys,
                        .w_batch = s.value,
                        .y_batch = s.value,
                        .columns = static_cast<int>(s.value),
                        .k = static_cast<int>(s.keys)},
                       {.x = dtype, .y = dtype, .bias = DType::float32, .plain = true, .matrices = s.heads}));
  }
  return all;
}

Refusal refuse_math(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, 1, 2})) return reason;
  for (const DType dtype : {call.in[1]->dtype, call.in[2]->dtype, call.out.dtype})
    if (dtype != call.in[0]->dtype) return "q, k, v and the result have different dtypes";
  if (call.has(kMask) && (call.in[kMask]->dtype != DType::float32 || call.in[kMask]->pitch)) return "the mask is not dense float32";
  return std::nullopt;
}

}  // namespace

void add_math_attention(Driver& driver, Entries& list) {
  KernelEntry math = entry(
      driver, {.name = "attention_math", .op = Op::attention, .bind = bind_math, .refuse = refuse_math, .workspace = workspace, .strided = true});
  math.kind = "math";
  math.plain = true;
  list.push_back(std::move(math));
}

}  // namespace vivace::cuda
