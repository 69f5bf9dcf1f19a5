// attention without its scores in memory (kernels/attention.h): on tensor cores, or in float32.
#include "backends/cuda/attention.h"

#include "base/log.h"

namespace vivace::cuda {

AttentionArguments attention_arguments(const KernelCall& call) {
  const Shape &q = call.in[0]->shape, &k = call.in[1]->shape, &v = call.in[2]->shape;
  const int64_t heads = call.attrs->integer("heads");
  const auto row = [&](const Operand& o) -> long long { return o.row_pitch(); };
  const auto image = [&](const Operand& o) -> long long { return o.shape[1] * o.row_pitch(); };
  AttentionArguments a{.q_image = image(*call.in[0]),
                       .k_image = image(*call.in[1]),
                       .v_image = image(*call.in[2]),
                       .y_image = image(call.out),
                       .q_row = row(*call.in[0]),
                       .k_row = row(*call.in[1]),
                       .v_row = row(*call.in[2]),
                       .y_row = row(call.out),
                       .queries = static_cast<int>(q[1]),
                       .keys = static_cast<int>(k[1]),
                       .heads = static_cast<int>(heads),
                       .head_size = static_cast<int>(q[2] / heads),
                       .value_size = static_cast<int>(v[2] / heads),
                       .causal = call.attrs->integer("causal") != 0,
                       .scale = static_cast<float>(call.attrs->real("scale"))};
  if (call.has(kMask))
    if (const Shape& mask = call.in[kMask]->shape; mask.size() == 4) {
      const int64_t head = mask[2] * mask[3];
      a.mask_head = mask[1] == 1 ? 0 : head;
      a.mask_image = mask[0] == 1 ? 0 : mask[1] * head;
    }
  return a;
}

Refusal refuse_attention_call(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, 1, 2})) return reason;
  for (const DType dtype : {call.in[1]->dtype, call.in[2]->dtype, call.out.dtype})
    if (dtype != call.in[0]->dtype) return "q, k, v and the result have different dtypes";
  if (call.has(kMask) && call.in[kMask]->dtype != DType::float32) return "the mask is not float32";
  if (call.has(kMask) && call.in[kMask]->row_pitch() != call.in[kMask]->columns()) return "the mask's rows do not follow one another";
  if (std::string reason = refuse_attention(attention_arguments(call)); !reason.empty()) return reason;
  return std::nullopt;
}

namespace {

template <bool plain>
std::unique_ptr<BoundKernel> bind(Driver& driver, const KernelCall& call, const Buffers& buffers) {
  AttentionArguments a = attention_arguments(call);
  a.q = buffers.in[0], a.k = buffers.in[1], a.v = buffers.in[2], a.y = buffers.out;
  if (call.has(kMask)) a.mask = static_cast<const float*>(buffers.in[kMask]);
  return launches(driver, make_attention(a, call.in[0]->shape[0], call.in[0]->dtype, plain));
}

Refusal refuse_flash(const KernelCall& call) {
  if (call.in[0]->dtype == DType::float32) return "tensor cores multiply bfloat16 and float16";
  return refuse_attention_call(call);
}

}  // namespace

void add_attention(Driver& driver, Entries& list) {
  KernelEntry flash = entry(driver, {.name = "attention_flash", .op = Op::attention, .bind = bind<false>, .refuse = refuse_flash, .strided = true});
  flash.kind = "flash";
  list.push_back(std::move(flash));
  KernelEntry efficient =
      entry(driver, {.name = "attention_efficient", .op = Op::attention, .bind = bind<true>, .refuse = refuse_attention_call, .strided = true});
  efficient.kind = "efficient";
  list.push_back(std::move(efficient));
}

}  // namespace vivace::cuda
