// linear and conv2d through oneDNN: for any x86-64 and for what our own kernels refuse (kernels of 5x5 and more, machines below AVX2).
#include <dnnl.hpp>

#include "backends/cpu/entries.h"
#include "backends/cpu/isa.h"
#include "base/log.h"

namespace vivace::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Dims = memory::dims;

const dnnl::engine& engine() {
  static const dnnl::engine value(dnnl::engine::kind::cpu, 0);
  return value;
}
dnnl::stream& stream() {
  static dnnl::stream value(engine());
  return value;
}

memory::data_type type_of(DType dtype) {
  switch (dtype) {
    case DType::bfloat16:
      return memory::data_type::bf16;
    case DType::float16:
      return memory::data_type::f16;
    default:
      return memory::data_type::f32;
  }
}

std::optional<dnnl::algorithm> algorithm_of(const std::string& act) {
  if (act == "silu" || act == "quick_gelu") return dnnl::algorithm::eltwise_swish;
  if (act == "gelu") return dnnl::algorithm::eltwise_gelu_erf;
  if (act == "gelu_tanh") return dnnl::algorithm::eltwise_gelu_tanh;
  if (act == "relu") return dnnl::algorithm::eltwise_relu;
  return std::nullopt;
}

// What comes before the plane counts images.
Shape as_images(const Shape& s) { return {numel({s.begin(), s.end() - 3}), s.end()[-3], s.end()[-2], s.end()[-1]}; }

// image_bias, then the activation, then the residual, as the ops define it.
dnnl::primitive_attr attributes(const KernelCall& call, const memory::desc& out, size_t image_bias, size_t residual) {
  dnnl::post_ops ops;
  if (call.has(image_bias))
    ops.append_binary(dnnl::algorithm::binary_add, memory::desc({out.dims()[0], out.dims()[1], 1, 1}, memory::data_type::f32, Tag::nchw));
  const std::string& act = call.attrs->text("act");
  if (const auto algorithm = algorithm_of(act)) ops.append_eltwise(1.f, *algorithm, act == "quick_gelu" ? 1.702f : 1.f, 0.f);
  if (call.has(residual)) ops.append_binary(dnnl::algorithm::binary_add, out);
  dnnl::primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

constexpr size_t kAbsent = 99;

// Measured with 2.6: a sum that differs between the images of a batch comes out wrong. They run one by one then.
int64_t images_at_once(const KernelCall& call) { return call.has(3) ? 1 : as_images(call.out.shape)[0]; }

dnnl::inner_product_forward::primitive_desc linear_primitive(const KernelCall& call) {
  const int64_t m = call.in[0]->rows(), k = call.in[0]->columns(), n = call.out.columns();
  const memory::desc x({m, k}, type_of(call.in[0]->dtype), Tag::nc), y({m, n}, type_of(call.out.dtype), Tag::nc);
  // Plain weights serve any number of rows: a plan made before the number of timesteps is known needs that.
  const memory::desc w({n, k}, type_of(call.in[0]->dtype), Tag::ab), b({n}, memory::data_type::f32, Tag::a);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto desc = call.has(2) ? dnnl::inner_product_forward::desc(kind, x, w, b, y) : dnnl::inner_product_forward::desc(kind, x, w, y);
  return {desc, attributes(call, y, kAbsent, 3), engine()};
}

dnnl::convolution_forward::primitive_desc conv_primitive(const KernelCall& call) {
  const Shape x = as_images(call.in[0]->shape), y = as_images(call.out.shape);
  const Shape& w = call.in[1]->shape;
  const int64_t n = images_at_once(call);
  const memory::desc src({n, x[3], x[1], x[2]}, type_of(call.in[0]->dtype), Tag::nhwc),
      dst({n, y[3], y[1], y[2]}, type_of(call.out.dtype), Tag::nhwc);
  const memory::desc weight({w[0], w[1], w[2], w[3]}, type_of(call.in[0]->dtype), Tag::any), b({w[0]}, memory::data_type::f32, Tag::a);
  const int64_t stride = call.attrs->integer("stride", 1);
  const auto& p = call.attrs->integers("padding");
  const Dims strides{stride, stride}, begin = p.empty() ? Dims{0, 0} : Dims{p[0], p[1]};
  // What is padded behind is what the last output pixel reaches: an odd rest of a stride is not read.
  const Dims end{(y[1] - 1) * stride + w[2] - x[1] - begin[0], (y[2] - 1) * stride + w[3] - x[2] - begin[1]};
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;
  const auto desc = call.has(2) ? dnnl::convolution_forward::desc(kind, direct, src, weight, b, dst, strides, begin, end)
                                : dnnl::convolution_forward::desc(kind, direct, src, weight, dst, strides, begin, end);
  return {desc, attributes(call, dst, 3, 4), engine()};
}

auto primitive(const KernelCall& call, std::integral_constant<Op, Op::linear>) { return linear_primitive(call); }
auto primitive(const KernelCall& call, std::integral_constant<Op, Op::conv2d>) { return conv_primitive(call); }

Refusal refuse(const KernelCall& call, Isa level) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  if (call.in[0]->dtype == DType::float16) return "oneDNN 2.6 has no float16 arithmetic on this kind of CPU";
  if (call.in[0]->pitch || call.out.pitch) return "strided rows";
  if (!call.in[1]->constant || !is_floating(call.in[1]->dtype)) return "the weight is not a floating point constant";
  if (call.op == Op::linear && call.has(5)) return "a gate behind the product";
  if (!call.attrs->text("compute").empty()) return "another arithmetic was asked for: " + call.attrs->text("compute");
  if (!call.attrs->text("matmul_precision").empty() && level >= Isa::avx512_bf16) return "products of bfloat16 were asked for";
  return std::nullopt;
}

// Equal texts, equal layouts.
std::string layout_text(const memory::desc& desc) {
  const dnnl_memory_desc_t& d = desc.data;
  std::string text = cat(static_cast<int>(d.data_type), ' ', static_cast<int>(d.format_kind));
  const dnnl_blocking_desc_t& blocks = d.format_desc.blocking;
  for (int i = 0; i < d.ndims; ++i) text += cat(' ', d.padded_dims[i], '/', blocks.strides[i]);
  for (int i = 0; i < blocks.inner_nblks; ++i) text += cat(' ', blocks.inner_blks[i], 'x', blocks.inner_idxs[i]);
  return text;
}

template <Op op>
class DnnlOffer final : public Offer {
  using Primitive = std::conditional_t<op == Op::linear, dnnl::inner_product_forward, dnnl::convolution_forward>;
  static constexpr size_t kImageBias = op == Op::conv2d ? 3 : kAbsent, kResidual = op == Op::conv2d ? 4 : 3;

 public:
  // Throws dnnl::error where there is no such primitive.
  DnnlOffer(const KernelCall& call, std::string_view name)
      : pd_(primitive(call, std::integral_constant<Op, op>())),
        weight_(*call.in[1]),
        columns_(call.out.columns()),
        runs_(op == Op::conv2d ? as_images(call.out.shape)[0] / images_at_once(call) : 1),
        has_activation_(algorithm_of(call.attrs->text("act")).has_value()) {
    workspace_bytes = pd_.scratchpad_desc().get_size();
    // Which layout a convolution's weights have is oneDNN's to choose for each size.
    packed = {
        .input = 1, .bytes = pd_.weights_desc().get_size(), .key = cat(name, '(', layout_text(pd_.weights_desc()), ')'), .by_size = op == Op::conv2d};
  }

  void pack(const void* source, const void*, void* to, Stream&) const override {
    // oneDNN reorders between float32 and what it computes in; anything else takes a detour through float32.
    const Tensor plain = Tensor::view(weight_.shape, weight_.dtype, const_cast<void*>(source)).to(DType::float32);
    memory from({Dims(weight_.shape.begin(), weight_.shape.end()), memory::data_type::f32, op == Op::linear ? Tag::ab : Tag::oihw}, engine(),
                const_cast<void*>(plain.data()));
    memory packed_weight(pd_.weights_desc(), engine(), to);
    dnnl::reorder(from, packed_weight).execute(stream(), from, packed_weight);
    stream().wait();
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    std::vector<Args> runs;
    for (int64_t i = 0; i < runs_; ++i) runs.push_back(arguments(buffers, static_cast<size_t>(i)));
    return bound([primitive = Primitive(pd_), runs = std::move(runs)] {
      for (const Args& args : runs) primitive.execute(stream(), args);
      stream().wait();
    });
  }

 private:
  using Args = std::unordered_map<int, memory>;

  Args arguments(const Buffers& buffers, size_t run) const {
    const auto given = [&](size_t i) { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
    // `data` of this run, whose operand takes so many bytes in each.
    const auto wrap = [run](const memory::desc& desc, void* data) {
      return memory(desc, engine(), static_cast<char*>(data) + run * desc.get_size());
    };
    Args args{{DNNL_ARG_SRC, wrap(pd_.src_desc(), buffers.in[0])},
              {DNNL_ARG_WEIGHTS, memory(pd_.weights_desc(), engine(), buffers.in[1])},
              {DNNL_ARG_DST, wrap(pd_.dst_desc(), buffers.out)},
              {DNNL_ARG_SCRATCHPAD, memory(pd_.scratchpad_desc(), engine(), buffers.workspace)}};
    if (given(2)) args[DNNL_ARG_BIAS] = memory(pd_.bias_desc(), engine(), buffers.in[2]);
    int position = 0;
    if (given(kImageBias))
      args[DNNL_ARG_ATTR_MULTIPLE_POST_OP(position++) | DNNL_ARG_SRC_1] =
          wrap({{1, columns_, 1, 1}, memory::data_type::f32, Tag::nchw}, buffers.in[kImageBias]);
    if (has_activation_) ++position;
    if (given(kResidual)) args[DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1] = wrap(pd_.dst_desc(), buffers.in[kResidual]);
    return args;
  }

  const typename Primitive::primitive_desc pd_;
  const Operand weight_;
  const int64_t columns_, runs_;
  const bool has_activation_;
};

template <Op op>
KernelEntry entry(std::string_view name) {
  return {.name = std::string(name), .op = op, .ask = [name](const KernelCall& call, const Target& target) -> Answer {
            if (Refusal reason = refuse(call, level_of(target))) return *reason;
            try {
              return std::make_unique<DnnlOffer<op>>(call, name);
            } catch (const dnnl::error& error) {
              return cat("oneDNN has no primitive for it (", error.what(), ")");
            }
          }};
}

}  // namespace

std::span<const KernelEntry> onednn_entries() {
  static const std::vector<KernelEntry> list{entry<Op::linear>("onednn_linear"), entry<Op::conv2d>("onednn_conv2d")};
  return list;
}

}  // namespace vivace::cpu
