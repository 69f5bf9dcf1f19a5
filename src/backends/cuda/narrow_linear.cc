// linear and geglu_linear with a weight that is kept in 8 bits: multiplied as it is by rows of 8 bits (int8_dynamic), or widened before each product
// (weight_storage, or as the checkpoint stores it), which costs a pass over it and saves memory.
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "backends/cuda/linear.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr int64_t kMostColumns = 24000;  // a row as float in shared memory

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

struct Narrow {
  DType storage{};        // int8 or float8_e4m3
  bool products = false;  // of int8
};

// What is packed: the rows in the order in which the GEMM reads them, then their scales.
class NarrowOffer final : public Offer {
 public:
  NarrowOffer(Driver& driver, const KernelCall& call, const GemmTypes& types, const Narrow& narrow)
      : driver_(driver),
        arguments_(linear_arguments(call)),
        types_(types),
        narrow_(narrow),
        x_(*call.in[0]),
        weight_(*call.in[kWeight]),
        hadamard_(static_cast<int>(call.attrs->integer("hadamard"))),
        elements_(static_cast<size_t>(numel(weight_.shape))),
        scales_at_(aligned(elements_)),
        padded_((arguments_.k + 3) / 4 * 4),
        stored_(call.has(kScale)) {
    packed = {.input = static_cast<int>(kWeight),
              .scales = stored_ ? static_cast<int>(kScale) : -1,
              .bytes = scales_at_ + static_cast<size_t>(weight_.shape[0]) * sizeof(float),
              .key = cat("rows(", dtype_name(narrow.storage), narrow.products ? " products" : "", types.geglu ? " geglu" : "",
                         hadamard_ ? cat(" hadamard ", hadamard_) : "", ')')};
    if (!narrow.products)
      workspace_bytes = elements_ * dtype_size(types.x);
    else if (x_.dtype != DType::uint8)
      workspace_bytes = aligned(static_cast<size_t>(arguments_.rows * padded_)) + static_cast<size_t>(arguments_.rows) * sizeof(float);
  }

  void pack(const void* source, const void* scales, void* to, Stream& stream) const override {
    auto* const made = reinterpret_cast<float*>(static_cast<char*>(to) + scales_at_);
    const int64_t rows = weight_.shape[0], k = weight_.shape[1];
    if (!stored_) {
      launches(driver_, make_quantize_weight({.in = source,
                                              .out = to,
                                              .scales = made,
                                              .rows = rows,
                                              .columns = static_cast<int>(k),
                                              .hadamard = hadamard_,
                                              .pairs = narrow_.products,
                                              .geglu = types_.geglu,
                                              .scales_follow = !narrow_.products},
                                             weight_.dtype, narrow_.storage))
          ->run(stream);
      return;
    }
    // Rows of so many units, eight of each half in turn where they are a GEGLU's.
    const auto move = [&](const void* from, void* out, int64_t units, size_t bytes, bool in_turn) {
      const int64_t eight = 8 * units;
      StridedCopy copy{.in = from, .out = out, .sizes = {rows * units}, .in_strides = {1}, .out_strides = {1}, .bytes = bytes};
      if (in_turn) copy.sizes = {rows / 16, 2, eight}, copy.in_strides = {eight, rows / 2 * units, 1}, copy.out_strides = {2 * eight, eight, 1};
      return launches(driver_, make_copy(copy));
    };
    move(source, to, k, 1, types_.geglu)->run(stream);
    move(scales, made, 1, sizeof(float), types_.geglu && !narrow_.products)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    GemmArguments a = with_buffers(arguments_, buffers);
    const auto* const scales = reinterpret_cast<const float*>(static_cast<const char*>(a.w) + scales_at_);
    if (!narrow_.products) {
      const DequantizeArguments widened{a.w, scales, buffers.workspace, weight_.shape[0], weight_.shape[1]};
      a.w = buffers.workspace;
      return launches(driver_, make_dequantize(widened, narrow_.storage, types_.x), make_gemm(a, types_));
    }
    a.scales = scales;
    if (x_.dtype == DType::uint8) {
      a.row_scales = scales_of(x_, buffers.in[0]);
      return launches(driver_, make_gemm(a, types_));
    }
    const auto rows =
        make_row_norm({.x = a.x,
                       .y = buffers.workspace,
                       .scales = reinterpret_cast<float*>(static_cast<char*>(buffers.workspace) + aligned(static_cast<size_t>(a.rows * padded_))),
                       .bad_value = buffers.bad_value.first,
                       .rows = a.rows,
                       .x_pitch = a.x_pitch,
                       .y_pitch = padded_,
                       .tokens = a.rows,
                       .columns = a.k,
                       .heads = 1,
                       .function = kCopyRow,
                       .step = buffers.bad_value.step,
                       .hadamard = hadamard_},
                      x_.dtype, DType::float32, DType::uint8);
    a.x = buffers.workspace, a.x_pitch = padded_;
    a.row_scales = rows.arguments.scales;
    return launches(driver_, rows, make_gemm(a, types_));
  }

 private:
  Driver& driver_;
  const GemmArguments arguments_;
  const GemmTypes types_;
  const Narrow narrow_;
  const Operand x_, weight_;
  const int hadamard_;
  const size_t elements_, scales_at_;
  const int64_t padded_;  // bytes of a row that is quantised here
  const bool stored_;     // the checkpoint has the bytes and their scales
};

bool is_narrow(DType dtype) { return dtype == DType::int8 || dtype == DType::float8_e4m3; }

Answer ask(Driver& driver, const KernelCall& call) {
  const Operand &x = *call.in[0], &w = *call.in[kWeight];
  const std::string &compute = call.attrs->text("compute"), &wanted = call.attrs->text("weight_storage");
  if (compute.empty() && wanted.empty() && !is_narrow(w.dtype)) return "the weight is kept as it is";
  if (!is_activation_dtype(call.out.dtype)) return cat("the output is ", dtype_name(call.out.dtype), ", not a float activation");
  Narrow narrow{.storage = is_narrow(w.dtype) ? w.dtype : wanted.empty() ? DType::int8 : parse_dtype(wanted), .products = !compute.empty()};
  if (narrow.products && narrow.storage != DType::int8) return cat("products of int8 with a weight of ", dtype_name(w.dtype));
  if (!(x.dtype == DType::uint8 ? narrow.products : is_activation_dtype(x.dtype))) return cat("the input is ", dtype_name(x.dtype));
  if (!is_narrow(w.dtype) && !is_activation_dtype(w.dtype)) return cat("the weight is ", dtype_name(w.dtype));
  if (is_narrow(w.dtype) && call.attrs->integer("hadamard")) return "a weight that is stored in 8 bits cannot be turned";
  if (Refusal reason = refuse_epilogue(call)) return *reason;
  if (!w.constant || (call.has(kScale) && !call.in[kScale]->constant)) return "the weight is not constant, it cannot be packed once";
  if (w.columns() > kMostColumns) return cat("more than ", kMostColumns, " features");
  const GemmTypes types{
      .x = narrow.products ? DType::uint8 : x.dtype, .y = call.out.dtype, .bias = DType::float32, .geglu = call.op == Op::geglu_linear};
  if (std::string reason = refuse_gemm(linear_arguments(call), types); !reason.empty()) return reason;
  return std::make_unique<NarrowOffer>(driver, call, types, narrow);
}

}  // namespace

void add_narrow_linears(Driver& driver, Entries& list) {
  for (Op op : {Op::linear, Op::geglu_linear})
    list.push_back({.name = op == Op::linear ? "gemm_8_bits" : "gemm_geglu_8_bits",
                    .op = op,
                    .ask = [&driver](const KernelCall& call, const Target&) { return ask(driver, call); },
                    .strided_in = true,
                    .strided_out = true});
}

}  // namespace vivace::cuda
