// linear on a library's GEMM (blas.h), with what its epilogues take: of float activations, and of float8.
#include "backends/cuda/blas.h"

#include <algorithm>

#include "backends/cuda/kernels/norm.h"
#include "backends/cuda/linear.h"
#include "backends/cuda/narrow.h"
#include "backends/cuda/packing.h"
#include "backends/cuda/stream.h"
#include "backends/tile_layout.h"
#include "base/log.h"
#include "ops/infer.h"

namespace vivace::cuda {
namespace {

class LibraryGemm final : public BoundKernel {
 public:
  // `first`: what makes the rows; nullptr: they are there. `last`: what is made of the result.
  LibraryGemm(std::shared_ptr<const Matmul> matmul, int algorithm, const Matmul::Addresses& addresses, std::unique_ptr<BoundKernel> first = nullptr,
              std::unique_ptr<BoundKernel> last = nullptr)
      : matmul_(std::move(matmul)), algorithm_(algorithm), addresses_(addresses), first_(std::move(first)), last_(std::move(last)) {}
  void run(Stream& stream) noexcept override {
    if (first_) first_->run(stream);
    auto& on = static_cast<CudaStream&>(stream);
    on.driver().enter();
    if (const std::string wrong = matmul_->run(algorithm_, addresses_, on.handle()); !wrong.empty()) on.fail(wrong);
    if (last_) last_->run(stream);
  }

 private:
  const std::shared_ptr<const Matmul> matmul_;
  const int algorithm_;
  const Matmul::Addresses addresses_;
  const std::unique_ptr<BoundKernel> first_, last_;
};

// What follows a linear that the library's epilogues have not: a chain of elementwise ops, of its result, the gate and the residual.
struct Chain {
  Attrs attrs;
  std::vector<std::optional<Operand>> in;
  std::vector<size_t> inputs;  // of the linear's, behind its result

  explicit Chain(const KernelCall& call) : in{Operand{.dtype = call.out.dtype, .shape = call.out.shape}} {
    std::string program, value = "i0";
    const auto add = [&](const std::string& op, const std::string& other) {
      const auto n = std::ranges::count(program, ';');
      program += cat('t', n, '=', op, ' ', value, other, ';');
      value = cat('t', n);
    };
    const auto with = [&](const std::string& op, size_t input) {
      if (!call.has(input)) return;
      add(op, cat(" i", in.size()));
      in.push_back(call.in[input]);
      inputs.push_back(input);
    };
    if (const std::string& act = call.attrs->text("act"); !act.empty()) add(act, "");
    with("mul", kGate);
    with("add", kResidual);
    attrs.set("program", program.substr(0, program.size() - 1));
  }
  KernelCall call(const Operand& out) const { return {.op = Op::tile, .attrs = &attrs, .in = in, .out = out}; }
};

// The bias has the result's dtype there: where that is not float32 it lies behind the weight, as it was packed. apart: the library's result lies in
// the workspace, and another kernel does the rest: of a GEGLU's halves their product, or a chain.
class BlasOffer final : public Offer {
 public:
  BlasOffer(Driver& driver, std::shared_ptr<const Matmul> matmul, const KernelCall& call, bool apart)
      : driver_(driver),
        matmul_(std::move(matmul)),
        algorithm_(algorithm_of(*matmul_, call)),
        weight_(*call.in[kWeight]),
        rows_(call.in[0]->rows()),
        x_(call.in[0]->dtype),
        y_(call.op == Op::geglu_linear ? x_ : call.out.dtype),
        out_(call.out),
        apart_(apart),
        bias_(call.has(kBias) && y_ != DType::float32) {
    workspace_bytes = matmul_->workspace_bytes(algorithm_);
    if (apart_) {
      result_at_ = aligned(workspace_bytes);
      workspace_bytes = result_at_ + static_cast<size_t>(rows_ * weight_.shape[0]) * dtype_size(y_);
    }
    if (apart_ && call.op == Op::linear) chain_.emplace(call);
    if (weight_.dtype == x_ && !bias_) return;  // as it is stored
    bias_at_ = aligned(static_cast<size_t>(numel(weight_.shape)) * dtype_size(x_));
    packed = {.input = static_cast<int>(kWeight),
              .scales = bias_ ? static_cast<int>(kBias) : -1,
              .bytes = bias_at_ + (bias_ ? static_cast<size_t>(weight_.shape[0]) * dtype_size(y_) : 0),
              .key = cat("rows(", dtype_name(x_), bias_ ? cat(", bias ", dtype_name(y_)) : "", ')')};
  }

  void pack(const void* source, const void* bias, void* to, Stream& stream) const override {
    repack(driver_, linear_weight(weight_.shape, false, weight_.dtype, x_), source, to)->run(stream);
    if (bias_) repack(driver_, {{weight_.shape[0]}, {1}, DType::float32, y_}, bias, static_cast<char*>(to) + bias_at_)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    const auto in = [&](size_t i) -> const void* { return i < buffers.in.size() ? buffers.in[i] : nullptr; };
    Matmul::Addresses a{.x = in(0),
                        .w = in(kWeight),
                        .bias = bias_ ? static_cast<const char*>(in(kWeight)) + bias_at_ : in(kBias),
                        .residual = in(kResidual),
                        .y = buffers.out,
                        .workspace = buffers.workspace};
    if (!apart_) return std::make_unique<LibraryGemm>(matmul_, algorithm_, a);
    a.y = static_cast<char*>(buffers.workspace) + result_at_;
    if (chain_) {
      a.residual = nullptr;
      Buffers rest{.in = {a.y}, .out = buffers.out};
      for (const size_t i : chain_->inputs) rest.in.push_back(buffers.in[i]);
      return std::make_unique<LibraryGemm>(matmul_, algorithm_, a, nullptr, bind_tile(driver_, chain_->call(out_), rest));
    }
    const auto product = make_row_norm({.x = a.y,
                                        .y = buffers.out,
                                        .rows = rows_,
                                        .x_pitch = weight_.shape[0],
                                        .y_pitch = out_.row_pitch(),
                                        .tokens = rows_,
                                        .columns = static_cast<int>(out_.columns()),
                                        .heads = 1,
                                        .function = kGeglu},
                                       y_, DType::float32, out_.dtype);
    return std::make_unique<LibraryGemm>(matmul_, algorithm_, a, nullptr, launches(driver_, product));
  }

  std::vector<std::string> variants() const override { return other_algorithms(*matmul_); }

 private:
  Driver& driver_;
  const std::shared_ptr<const Matmul> matmul_;
  const int algorithm_;
  const Operand weight_;
  const int64_t rows_;
  const DType x_, y_;
  const Operand out_;
  const bool apart_, bias_;
  std::optional<Chain> chain_;
  size_t result_at_ = 0, bias_at_ = 0;
};

// Rows that come as floats are quantised here. Packed as gemm_8_bits has it, with the bias in the result's dtype behind it.
class Float8Offer final : public Offer {
 public:
  Float8Offer(Driver& driver, std::shared_ptr<const Matmul> matmul, const KernelCall& call, const NarrowWeight& weight)
      : driver_(driver),
        matmul_(std::move(matmul)),
        algorithm_(algorithm_of(*matmul_, call)),
        weight_(weight),
        rows_{.x = *call.in[0], .dtype = DType::float8_e4m3},
        y_(call.out.dtype),
        quantizes_(rows_.x.dtype != DType::float8_e4m3),
        bias_(call.has(kBias)),
        workspace_at_(quantizes_ ? aligned(rows_.bytes()) : 0),
        bias_at_(aligned(weight_.bytes())) {
    workspace_bytes = workspace_at_ + matmul_->workspace_bytes(algorithm_);
    packed = {.input = static_cast<int>(kWeight),
              .scales = bias_            ? static_cast<int>(kBias)
                        : weight_.stored ? static_cast<int>(kScale)
                                         : -1,
              .bytes = bias_ ? bias_at_ + static_cast<size_t>(weight_.weight.shape[0]) * dtype_size(y_) : weight_.bytes(),
              .key = bias_ ? cat(weight_.key(), ", bias ", dtype_name(y_)) : weight_.key()};
  }

  void pack(const void* source, const void* scales, void* to, Stream& stream) const override {
    weight_.pack(driver_, source, scales, to, stream);
    if (bias_) repack(driver_, {{weight_.weight.shape[0]}, {1}, DType::float32, y_}, scales, static_cast<char*>(to) + bias_at_)->run(stream);
  }

  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    Matmul::Addresses a{.x = buffers.in[0],
                        .w = buffers.in[kWeight],
                        .bias = bias_ ? static_cast<const char*>(buffers.in[kWeight]) + bias_at_ : nullptr,
                        .residual = buffers.in.size() > kResidual ? buffers.in[kResidual] : nullptr,
                        .x_scales = scales_of(rows_.x, buffers.in[0]),
                        .w_scales = weight_.scales_in(buffers.in[kWeight]),
                        .y = buffers.out,
                        .workspace = static_cast<char*>(buffers.workspace) + workspace_at_};
    if (!quantizes_) return std::make_unique<LibraryGemm>(matmul_, algorithm_, a);
    const auto quantize = rows_.make(a.x, buffers.workspace, buffers.bad_value);
    a.x = buffers.workspace, a.x_scales = quantize.arguments.scales;
    return std::make_unique<LibraryGemm>(matmul_, algorithm_, a, launches(driver_, quantize));
  }

  std::vector<std::string> variants() const override { return other_algorithms(*matmul_); }

 private:
  Driver& driver_;
  const std::shared_ptr<const Matmul> matmul_;
  const int algorithm_;
  const NarrowWeight weight_;
  const QuantizedRows rows_;
  const DType y_;
  const bool quantizes_, bias_;
  const size_t workspace_at_, bias_at_;
};

Refusal refuse_library_epilogue(const KernelCall& call) {
  const Activation act = activation_of(call.attrs->text("act"));
  if (call.has(kGate)) return "no gate in its epilogue";
  if (act != kIdentity && act != kRelu && act != kGeluTanh) return cat("no ", call.attrs->text("act"), " in its epilogue");
  if (act != kIdentity && call.has(kResidual)) return "an activation comes behind the residual in its epilogue";
  if (call.has(kResidual) && call.in[kResidual]->dtype != call.out.dtype) return "the residual has another dtype";
  return std::nullopt;
}

// Of what another kernel does behind it.
Refusal refuse_rest(const KernelCall& call) {
  if (call.op == Op::linear) {
    if (!refuse_library_epilogue(call)) return "its epilogue has all of it";
    const Chain chain(call);
    return refuse_tile(chain.call(call.out));
  }
  const Activation act = activation_of(call.attrs->text("act"));
  if (act != kIdentity && act != kGelu) return cat("no ", call.attrs->text("act"), " of a gate behind it");
  if (call.out.columns() > kMostNarrowColumns) return cat("more than ", kMostNarrowColumns, " features");
  if (call.has(kGate) || call.has(kResidual)) return "GEGLU with a residual or a gate";
  if (!is_activation_dtype(call.out.dtype)) return "rows of 8 bits are another kernel's";
  return std::nullopt;
}

// Of the call's factors as `factors`, in rows `x_pitch` elements apart. apart: the product with its bias alone, in rows that follow one another.
std::shared_ptr<const Matmul> matmul_for(BlasLibrary& blas, const KernelCall& call, DType factors, int64_t x_pitch, bool apart = false) {
  const Operand& w = *call.in[kWeight];
  const bool residual = call.has(kResidual) && !apart;
  return blas.matmul({.rows = call.in[0]->rows(),
                      .columns = w.shape[0],
                      .k = w.columns(),
                      .x_pitch = x_pitch,
                      .w_pitch = w.columns(),
                      .y_pitch = apart ? w.shape[0] : call.out.row_pitch(),
                      .residual_pitch = residual ? call.in[kResidual]->row_pitch() : 0,
                      .x = factors,
                      .y = call.op == Op::geglu_linear ? factors : call.out.dtype,
                      .tf32 = factors == DType::float32 && call.attrs->has("matmul_precision"),
                      .act = apart ? kIdentity : activation_of(call.attrs->text("act")),
                      .bias = call.has(kBias),
                      .residual = residual});
}

Answer ask_float8(Driver& driver, const KernelCall& call) {
  const Operand &x = *call.in[0], &w = *call.in[kWeight];
  if (quantized_rows(call.attrs->text("compute")) != DType::float8_e4m3) return "multiplies float8 alone";
  const Properties& gpu = driver.properties();
  if (!gpu.multiplies_float8())
    return cat("products of float8 need compute capability 8.9, this GPU has ", gpu.capability / 10, '.', gpu.capability % 10);
  if (Refusal reason = refuse_unless_activations(call, {kResidual})) return *reason;
  if (x.dtype != DType::float8_e4m3 && !is_activation_dtype(x.dtype)) return cat("the input is ", dtype_name(x.dtype));
  if (w.dtype != DType::float8_e4m3 && !is_activation_dtype(w.dtype)) return cat("the weight is ", dtype_name(w.dtype));
  if (w.shape[0] % 16 || w.columns() % 16) return cat("float8 of ", w.columns(), " features to ", w.shape[0], ", not both multiples of 16");
  if (w.columns() > kMostNarrowColumns) return cat("more than ", kMostNarrowColumns, " features");
  if (Refusal reason = refuse_library_epilogue(call)) return *reason;
  if (Refusal reason = refuse_epilogue(call)) return *reason;
  if (call.has(kBias) && call.out.dtype == DType::float32) return "the bias of a float32 result would be bfloat16";
  if (call.has(kBias) && call.has(kScale)) return "a bias beside scales that the checkpoint stores";
  for (size_t i : {kWeight, kBias, kScale})
    if (call.has(i) && !call.in[i]->constant) return "weight or bias is not constant, it cannot be packed once";
  BlasLibrary* blas = driver.blas();
  if (!blas) return "there is no cuBLASLt";
  driver.enter();
  auto matmul = matmul_for(*blas, call, DType::float8_e4m3, w.columns());
  if (!matmul) return cat(blas->version(), " has no algorithm for float8 with a scale a row on this GPU");
  const NarrowWeight weight{.weight = w, .storage = DType::float8_e4m3, .products = true, .stored = call.has(kScale)};
  return std::make_unique<Float8Offer>(driver, std::move(matmul), call, weight);
}

template <bool apart>
Answer ask_blas(Driver& driver, const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, kResidual})) return *reason;
  const Operand &x = *call.in[0], &w = *call.in[kWeight];
  if (!is_floating(w.dtype) || call.has(kScale) || call.attrs->has("compute") || call.attrs->has("weight_storage")) return "weights of 8 bits";
  if (Refusal reason = apart ? refuse_rest(call) : refuse_library_epilogue(call)) return *reason;
  if (x.dtype == DType::float32 && call.out.dtype != DType::float32) return "a narrower result than its factors";
  const DType y = call.op == Op::geglu_linear ? x.dtype : call.out.dtype;
  const bool packs = w.dtype != x.dtype || (call.has(kBias) && y != DType::float32);
  if (packs && (!w.constant || (call.has(kBias) && !call.in[kBias]->constant))) return "weight or bias is not constant, it cannot be packed once";
  BlasLibrary* blas = driver.blas();
  if (!blas) return "there is no cuBLASLt";
  driver.enter();
  auto matmul = matmul_for(*blas, call, x.dtype, x.row_pitch(), apart);
  if (!matmul) return "cuBLASLt has no algorithm for it";
  return std::make_unique<BlasOffer>(driver, std::move(matmul), call, apart);
}

void add_gemm(Driver& driver, Entries& list, const char* name, Op op, Answer (*answer)(Driver&, const KernelCall&)) {
  list.push_back({.name = name,
                  .op = op,
                  .ask = [&driver, answer](const KernelCall& call, const Target&) { return answer(driver, call); },
                  .strided_in = true,
                  .strided_out = true});
}

}  // namespace

void add_library_gemms(Driver& driver, Entries& list) {
  add_gemm(driver, list, "cublaslt", Op::linear, ask_blas<false>);
  add_gemm(driver, list, "cublaslt_float8", Op::linear, ask_float8);
}

// Behind the own kernels, which write the result alone: max-autotune measures both.
void add_library_gemms_apart(Driver& driver, Entries& list) {
  add_gemm(driver, list, "cublaslt_apart", Op::linear, ask_blas<true>);
  add_gemm(driver, list, "cublaslt_geglu", Op::geglu_linear, ask_blas<true>);
}

}  // namespace vivace::cuda
