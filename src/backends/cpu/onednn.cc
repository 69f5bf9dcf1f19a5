// linear and conv2d through oneDNN: for any x86-64 and for what our own kernels refuse (kernels of 5x5 and more, machines below AVX2).
#include <algorithm>
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

// A primitive can't be stopped: one that would take longer than about this many additions and multiplications, some 50 ms where oneDNN has to serve
// for everything, is divided into parts, between which a stop is looked at.
constexpr int64_t kPartFlops = int64_t{1} << 30;
int64_t part_of(int64_t n, int64_t flops_each, int64_t least) {
  return std::clamp(kPartFlops / std::max<int64_t>(1, flops_each), std::min(least, n), std::max<int64_t>(1, n));
}

dnnl::inner_product_forward::primitive_desc linear_primitive(const KernelCall& call, int64_t rows) {
  const int64_t k = call.in[0]->columns(), n = call.out.columns();
  const memory::desc x({rows, k}, type_of(call.in[0]->dtype), Tag::nc), y({rows, n}, type_of(call.out.dtype), Tag::nc);
  // Plain weights serve any number of rows: a plan made before the number of timesteps is known needs that.
  const memory::desc w({n, k}, type_of(call.in[0]->dtype), Tag::ab), b({n}, memory::data_type::f32, Tag::a);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto desc = call.has(2) ? dnnl::inner_product_forward::desc(kind, x, w, b, y) : dnnl::inner_product_forward::desc(kind, x, w, y);
  return {desc, attributes(call, y, kAbsent, 3), engine()};
}

// Some lines of some images: those of the result, and those of the input that they are made of, with the padding at both ends.
struct Band {
  int64_t images, out_rows, in_begin, in_rows, before, after;
  // The same primitive serves both.
  bool is_like(const Band& b) const {
    return images == b.images && out_rows == b.out_rows && in_rows == b.in_rows && before == b.before && after == b.after;
  }
};

Band band_of(const KernelCall& call, int64_t images, int64_t out_begin, int64_t out_rows) {
  const int64_t stride = call.attrs->integer("stride", 1), height = as_images(call.in[0]->shape)[1], kernel = call.in[1]->shape[2];
  const auto& p = call.attrs->integers("padding");
  // An odd rest of a stride is not read.
  const int64_t begin = out_begin * stride - (p.empty() ? 0 : p[0]), end = begin + (out_rows - 1) * stride + kernel;
  const int64_t first = std::max<int64_t>(0, begin), last = std::min(height, end);
  return {images, out_rows, first, last - first, first - begin, end - last};
}

dnnl::convolution_forward::primitive_desc conv_primitive(const KernelCall& call, const Band& band, const memory::desc* packed) {
  const Shape x = as_images(call.in[0]->shape), y = as_images(call.out.shape);
  const Shape& w = call.in[1]->shape;
  const memory::desc src({band.images, x[3], band.in_rows, x[2]}, type_of(call.in[0]->dtype), Tag::nhwc),
      dst({band.images, y[3], band.out_rows, y[2]}, type_of(call.out.dtype), Tag::nhwc);
  const memory::desc weight = packed ? *packed : memory::desc({w[0], w[1], w[2], w[3]}, type_of(call.in[0]->dtype), Tag::any);
  const memory::desc b({w[0]}, memory::data_type::f32, Tag::a);
  const int64_t stride = call.attrs->integer("stride", 1);
  const auto& p = call.attrs->integers("padding");
  const int64_t left = p.empty() ? 0 : p[1];
  const Dims strides{stride, stride}, begin{band.before, left}, end{band.after, (y[2] - 1) * stride + w[3] - x[2] - left};
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;
  const auto desc = call.has(2) ? dnnl::convolution_forward::desc(kind, direct, src, weight, b, dst, strides, begin, end)
                                : dnnl::convolution_forward::desc(kind, direct, src, weight, dst, strides, begin, end);
  return {desc, attributes(call, dst, 3, 4), engine()};
}

Refusal refuse_onednn(const KernelCall& call, Isa level) {
  if (Refusal reason = refuse_unless_activations(call, {0})) return reason;
  if (call.in[0]->dtype == DType::float16) return "oneDNN 2.6 has no float16 arithmetic on this kind of CPU";
  if (call.in[0]->pitch || call.out.pitch) return "strided rows";
  if (!call.in[1]->constant || !is_floating(call.in[1]->dtype)) return "the weight is not a floating point constant";
  if (call.op == Op::linear && call.has(5)) return "a gate behind the product";
  const size_t residual = call.op == Op::linear ? 3 : 4;
  if (call.has(residual) && call.in[residual]->dtype != call.out.dtype) return "the residual has another dtype";
  for (size_t i = 2; i < residual; ++i)
    if (call.has(i) && call.in[i]->dtype != DType::float32) return "a bias is not float32";
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
      : weight_(*call.in[1]),
        columns_(call.out.columns()),
        in_width_(static_cast<int64_t>(dtype_size(call.in[0]->dtype))),
        out_width_(static_cast<int64_t>(dtype_size(call.out.dtype))),
        has_activation_(algorithm_of(call.attrs->text("act")).has_value()) {
    if constexpr (op == Op::linear)
      divide_rows(call);
    else
      divide_images(call);
    for (const auto& primitive : primitives_) workspace_bytes = std::max(workspace_bytes, primitive.scratchpad_desc().get_size());
    // Which layout a convolution's weights have is oneDNN's to choose for each size.
    packed = {.input = 1, .bytes = weights().get_size(), .key = cat(name, '(', layout_text(weights()), ')'), .by_size = op == Op::conv2d};
  }

  void pack(const void* source, const void*, void* to, Stream& request) const override {
    if (stopped(&request.stop)) return;
    // oneDNN reorders between float32 and what it computes in; anything else takes a detour through float32.
    const Tensor plain = Tensor::view(weight_.shape, weight_.dtype, const_cast<void*>(source)).to(DType::float32);
    memory from({Dims(weight_.shape.begin(), weight_.shape.end()), memory::data_type::f32, op == Op::linear ? Tag::ab : Tag::oihw}, engine(),
                const_cast<void*>(plain.data()));
    memory packed_weight(weights(), engine(), to);
    dnnl::reorder(from, packed_weight).execute(stream(), from, packed_weight);
    stream().wait();
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    std::vector<Primitive> primitives(primitives_.begin(), primitives_.end());
    std::vector<std::pair<Primitive, Args>> parts;
    parts.reserve(parts_.size());
    for (const Part& part : parts_) parts.emplace_back(primitives[part.primitive], arguments(buffers, part));
    return bound([parts = std::move(parts)](Stream& request) {
      for (const auto& [primitive, args] : parts) {
        if (stopped(&request.stop)) return;
        primitive.execute(stream(), args);
        stream().wait();
      }
    });
  }

 private:
  using Args = std::unordered_map<int, memory>;
  // What one execution makes: by which primitive, from and to where, in bytes, and of which image.
  struct Part {
    size_t primitive;
    int64_t from, to, image;
  };

  memory::desc weights() const { return primitives_[0].weights_desc(); }

  void divide_rows(const KernelCall& call) {
    const int64_t m = call.in[0]->rows(), k = call.in[0]->columns(), n = call.out.columns(), at_once = part_of(m, 2 * k * n, 16);
    primitives_.push_back(linear_primitive(call, at_once));
    if (m % at_once != 0) primitives_.push_back(linear_primitive(call, m % at_once));
    for (int64_t row = 0; row < m; row += at_once)
      parts_.push_back({row + at_once <= m ? size_t{0} : size_t{1}, row * k * in_width_, row * n * out_width_, 0});
  }

  void divide_images(const KernelCall& call) {
    const Shape x = as_images(call.in[0]->shape), y = as_images(call.out.shape);
    const Shape& w = call.in[1]->shape;
    const int64_t line_flops = 2 * numel(w) * y[2], lines = part_of(y[1], line_flops, 1);
    // Measured with 2.6: a sum that differs between the images of a batch comes out wrong. They run one by one then.
    const int64_t images = lines < y[1] || call.has(kImageBias) ? 1 : part_of(y[0], line_flops * y[1], 1);
    std::vector<Band> bands;  // by primitive
    for (int64_t image = 0; image < y[0]; image += images)
      for (int64_t line = 0; line < y[1]; line += lines) {
        const Band band = band_of(call, std::min(images, y[0] - image), line, std::min(lines, y[1] - line));
        const auto known = std::ranges::find_if(bands, [&](const Band& b) { return b.is_like(band); });
        const auto primitive = static_cast<size_t>(known - bands.begin());
        if (known == bands.end()) {
          const memory::desc packed_as = bands.empty() ? memory::desc() : weights();
          primitives_.push_back(conv_primitive(call, band, bands.empty() ? nullptr : &packed_as));
          bands.push_back(band);
        }
        parts_.push_back(
            {primitive, (image * x[1] + band.in_begin) * x[2] * x[3] * in_width_, (image * y[1] + line) * y[2] * y[3] * out_width_, image});
      }
  }

  Args arguments(const Buffers& buffers, const Part& part) const {
    const auto& pd = primitives_[part.primitive];
    const auto given = [&](size_t i) { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
    const auto at = [](const memory::desc& desc, void* data, int64_t bytes) { return memory(desc, engine(), static_cast<char*>(data) + bytes); };
    Args args{{DNNL_ARG_SRC, at(pd.src_desc(), buffers.in[0], part.from)},
              {DNNL_ARG_WEIGHTS, memory(pd.weights_desc(), engine(), buffers.in[1])},
              {DNNL_ARG_DST, at(pd.dst_desc(), buffers.out, part.to)},
              {DNNL_ARG_SCRATCHPAD, memory(pd.scratchpad_desc(), engine(), buffers.workspace)}};
    if (given(2)) args[DNNL_ARG_BIAS] = memory(pd.bias_desc(), engine(), buffers.in[2]);
    int position = 0;
    if (given(kImageBias))
      args[DNNL_ARG_ATTR_MULTIPLE_POST_OP(position++) | DNNL_ARG_SRC_1] =
          at({{1, columns_, 1, 1}, memory::data_type::f32, Tag::nchw}, buffers.in[kImageBias], part.image * columns_ * 4);
    if (has_activation_) ++position;
    if (given(kResidual)) args[DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1] = at(pd.dst_desc(), buffers.in[kResidual], part.to);
    return args;
  }

  const Operand weight_;
  const int64_t columns_, in_width_, out_width_;  // of the result; bytes of an element
  const bool has_activation_;
  std::vector<typename Primitive::primitive_desc> primitives_;
  std::vector<Part> parts_;
};

template <Op op>
KernelEntry entry(std::string_view name) {
  return {.name = std::string(name), .op = op, .ask = [name](const KernelCall& call, const Target& target) -> Answer {
            if (Refusal reason = refuse_onednn(call, level_of(target))) return *reason;
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
