// attention on the backends of kernels/attention/attention.h.
#include "backends/cpu/kernels/attention/attention.h"

#include "backends/cpu/entries.h"
#include "base/log.h"

namespace vivace::cpu {
namespace {

AttentionShape shape_of(const KernelCall& call) {
  const Shape &q = call.in[0]->shape, &k = call.in[1]->shape;
  const int64_t heads = call.attrs->integer("heads");
  return {.batch = q[0],
          .heads = heads,
          .q_len = q[1],
          .kv_len = k[1],
          .head_dim = q[2] / heads,
          .dtype = call.in[0]->dtype,
          .causal = call.attrs->integer("causal") != 0,
          .mask = call.has(3),
          .scale = static_cast<float>(call.attrs->real("scale"))};
}

TokenStrides strides_of(const Operand& o) { return {o.shape[1] * o.row_pitch(), o.row_pitch()}; }

class AttentionOffer final : public Offer {
 public:
  AttentionOffer(const AttentionBackend& backend, const KernelCall& call, const Target& target)
      : attention_(backend.kind, shape_of(call), level_of(target), target.threads),
        args_{.q_strides = strides_of(*call.in[0]),
              .k_strides = strides_of(*call.in[1]),
              .v_strides = strides_of(*call.in[2]),
              .out_strides = strides_of(call.out)} {
    if (call.has(3)) {
      args_.mask_query = call.in[3]->row_pitch();
      if (const Shape& mask = call.in[3]->shape; mask.size() == 4) {
        const int64_t head = mask[2] * args_.mask_query;
        args_.mask_head = mask[1] == 1 ? 0 : head;
        args_.mask_batch = mask[0] == 1 ? 0 : mask[1] * head;
      }
    }
    workspace_bytes = attention_.workspace_bytes();
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    AttentionArgs args = args_;
    args.q = buffers.in[0], args.k = buffers.in[1], args.v = buffers.in[2], args.out = buffers.out;
    if (buffers.in.size() > 3) args.mask = static_cast<const float*>(buffers.in[3]);
    return bound([attention = attention_, args, workspace = buffers.workspace](Stream& stream) mutable {
      args.stop = &stream.stop;
      attention.run(args, workspace);
    });
  }

 private:
  const Attention attention_;
  AttentionArgs args_;
};

Answer ask_attention(const AttentionBackend& backend, const KernelCall& call, const Target& target) {
  if (Refusal reason = refuse_unless_activations(call, {0, 1, 2})) return *reason;
  for (size_t i : {1, 2})
    if (call.in[i]->dtype != call.in[0]->dtype) return "q, k and v have different dtypes";
  if (call.in[2]->shape != call.in[1]->shape) return "k and v have different head sizes";
  if (call.has(3) && call.in[3]->dtype != DType::float32) return "the mask is not float32";
  const AttentionShape shape = shape_of(call);
  if (Refusal reason = backend.refuse(shape, level_of(target))) return *reason;
  if (backend.kind == AttentionKind::int16)
    if (Refusal reason = refuse_error(attention_int16_error(shape.head_dim, shape.kv_len), int16_bound(*call.attrs),
                                      "products of int16 are off for this attention"))
      return *reason;
  return std::make_unique<AttentionOffer>(backend, call, target);
}

}  // namespace

std::span<const KernelEntry> attention_entries() {
  static const std::vector<KernelEntry> list = [] {
    std::vector<KernelEntry> all;
    for (const AttentionBackend& backend : attention_backends())
      all.push_back({.name = cat("attention_", backend.name),
                     .op = Op::attention,
                     .ask = [&backend](const KernelCall& call, const Target& target) { return ask_attention(backend, call, target); },
                     .strided_in = true,
                     .strided_out = true,
                     .plain = backend.kind == AttentionKind::math,
                     .kind = backend.sdpa});
    return all;
  }();
  return list;
}

}  // namespace vivace::cpu
