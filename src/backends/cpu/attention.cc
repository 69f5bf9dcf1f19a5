// attention on the backends of kernels/attention/attention.h.
#include "backends/cpu/kernels/attention/attention.h"

#include <array>

#include "backends/cpu/entries.h"
#include "base/parallel.h"

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

template <size_t index>
const AttentionBackend& sdp() {
  return attention_backends()[index];
}

constexpr size_t kMath = 3;  // in the order of attention_backends()
template <size_t index>
constexpr bool sdp_is_plain = index == kMath;

template <size_t index>
Refusal refuse(const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, 1, 2})) return reason;
  for (size_t i : {1, 2})
    if (call.in[i]->dtype != call.in[0]->dtype) return "q, k and v have different dtypes";
  if (call.in[2]->shape != call.in[1]->shape) return "k and v have different head sizes";
  if (call.has(3) && call.in[3]->dtype != DType::float32) return "the mask is not float32";
  return sdp<index>().refuse(shape_of(call), isa());
}

template <size_t index>
size_t workspace_bytes(const KernelCall& call) {
  return sdp<index>().workspace_bytes(shape_of(call), num_threads());
}

template <size_t index>
std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
  AttentionArgs args{.q = buffers.in[0],
                     .k = buffers.in[1],
                     .v = buffers.in[2],
                     .out = buffers.out,
                     .q_strides = strides_of(*call.in[0]),
                     .k_strides = strides_of(*call.in[1]),
                     .v_strides = strides_of(*call.in[2]),
                     .out_strides = strides_of(call.out)};
  if (call.has(3)) {
    args.mask = static_cast<const float*>(buffers.in[3]);
    args.mask_query = call.in[3]->row_pitch();
    if (const Shape& mask = call.in[3]->shape; mask.size() == 4) {
      const int64_t head = mask[2] * args.mask_query;
      args.mask_head = mask[1] == 1 ? 0 : head;
      args.mask_batch = mask[0] == 1 ? 0 : mask[1] * head;
    }
  }
  return bound([shape = shape_of(call), args, workspace = buffers.workspace] { sdp<index>().run(shape, args, workspace); });
}

template <size_t index>
constexpr KernelEntry entry(std::string_view name, std::string_view kind) {
  return {.name = name,
          .op = Op::attention,
          .refuse = refuse<index>,
          .bind = bind<index>,
          .workspace_bytes = workspace_bytes<index>,
          .strided_in = true,
          .strided_out = true,
          .plain = sdp_is_plain<index>,
          .kind = kind};
}

// In the order of attention_backends().
constexpr std::array kEntries{entry<0>("attention_int8", "int8"), entry<1>("attention_flash", "flash"), entry<2>("attention_efficient", "efficient"),
                              entry<kMath>("attention_math", "math")};

}  // namespace

std::span<const KernelEntry> attention_entries() { return kEntries; }

}  // namespace vivace::cpu
