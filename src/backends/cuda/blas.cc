// linear on a library's GEMM (blas.h), with what its epilogues take.
#include "backends/cuda/blas.h"

#include "backends/cuda/linear.h"
#include "backends/cuda/packing.h"
#include "backends/cuda/stream.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

class LibraryGemm final : public BoundKernel {
 public:
  LibraryGemm(std::shared_ptr<const Matmul> matmul, int algorithm, const Matmul::Addresses& addresses)
      : matmul_(std::move(matmul)), algorithm_(algorithm), addresses_(addresses) {}
  void run(Stream& stream) noexcept override {
    auto& on = static_cast<CudaStream&>(stream);
    on.driver().enter();
    if (const std::string wrong = matmul_->run(algorithm_, addresses_, on.handle()); !wrong.empty()) on.fail(wrong);
  }

 private:
  const std::shared_ptr<const Matmul> matmul_;
  const int algorithm_;
  const Matmul::Addresses addresses_;
};

// The bias has the result's dtype there: where that is not float32 it lies behind the weight, as it was packed.
class LibraryOffer final : public Offer {
 public:
  LibraryOffer(Driver& driver, std::shared_ptr<const Matmul> matmul, const KernelCall& call)
      : driver_(driver),
        matmul_(std::move(matmul)),
        algorithm_(std::min(tuning_value(call.tuning, "algorithm", 0), matmul_->algorithms() - 1)),
        weight_(*call.in[kWeight]),
        x_(call.in[0]->dtype),
        y_(call.out.dtype),
        bias_(call.has(kBias) && y_ != DType::float32) {
    workspace_bytes = matmul_->workspace_bytes(algorithm_);
    if (weight_.dtype == x_ && !bias_) return;  // as it is stored
    constexpr size_t kAlignment = 256;
    bias_at_ = (static_cast<size_t>(numel(weight_.shape)) * dtype_size(x_) + kAlignment - 1) / kAlignment * kAlignment;
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
    return std::make_unique<LibraryGemm>(matmul_, algorithm_,
                                         Matmul::Addresses{.x = in(0),
                                                           .w = in(kWeight),
                                                           .bias = bias_ ? static_cast<const char*>(in(kWeight)) + bias_at_ : in(kBias),
                                                           .residual = in(kResidual),
                                                           .y = buffers.out,
                                                           .workspace = buffers.workspace});
  }

  std::vector<std::string> variants() const override {
    std::vector<std::string> texts;
    for (int i = 1; i < matmul_->algorithms(); ++i) texts.push_back(cat("algorithm=", i));
    return texts;
  }

 private:
  Driver& driver_;
  const std::shared_ptr<const Matmul> matmul_;
  const int algorithm_;
  const Operand weight_;
  const DType x_, y_;
  const bool bias_;
  size_t bias_at_ = 0;
};

Answer ask(Driver& driver, const KernelCall& call) {
  if (Refusal reason = refuse_unless_activations(call, {0, kResidual})) return *reason;
  const Operand &x = *call.in[0], &w = *call.in[kWeight];
  const Activation act = activation_of(call.attrs->text("act"));
  if (!is_floating(w.dtype) || call.has(kScale) || call.attrs->has("compute") || call.attrs->has("weight_storage")) return "weights of 8 bits";
  if (call.has(kGate)) return "no gate in its epilogue";
  if (act != kIdentity && act != kRelu && act != kGeluTanh) return cat("no ", call.attrs->text("act"), " in its epilogue");
  if (act != kIdentity && call.has(kResidual)) return "an activation comes behind the residual in its epilogue";
  if (call.has(kResidual) && call.in[kResidual]->dtype != call.out.dtype) return "the residual has another dtype";
  if (x.dtype == DType::float32 && call.out.dtype != DType::float32) return "a narrower result than its factors";
  const bool packs = w.dtype != x.dtype || (call.has(kBias) && call.out.dtype != DType::float32);
  if (packs && (!w.constant || (call.has(kBias) && !call.in[kBias]->constant))) return "weight or bias is not constant, it cannot be packed once";
  BlasLibrary* blas = driver.blas();
  if (!blas) return "there is no cuBLASLt";
  auto matmul = blas->matmul({.rows = x.rows(),
                              .columns = w.shape[0],
                              .k = w.columns(),
                              .x_pitch = x.row_pitch(),
                              .w_pitch = w.columns(),
                              .y_pitch = call.out.row_pitch(),
                              .residual_pitch = call.has(kResidual) ? call.in[kResidual]->row_pitch() : 0,
                              .x = x.dtype,
                              .y = call.out.dtype,
                              .tf32 = x.dtype == DType::float32 && call.attrs->has("matmul_precision"),
                              .act = act,
                              .bias = call.has(kBias),
                              .residual = call.has(kResidual)});
  if (!matmul) return "cuBLASLt has no algorithm for it";
  return std::make_unique<LibraryOffer>(driver, std::move(matmul), call);
}

}  // namespace

void add_library_gemms(Driver& driver, Entries& list) {
  list.push_back({.name = "cublaslt",
                  .op = Op::linear,
                  .ask = [&driver](const KernelCall& call, const Target&) { return ask(driver, call); },
                  .strided_in = true,
                  .strided_out = true});
}

}  // namespace vivace::cuda
