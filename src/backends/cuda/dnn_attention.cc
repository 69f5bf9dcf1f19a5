// attention on a library's kernel (dnn.h), without a mask. Behind the own kernels in the list: max-autotune measures both.
#include "backends/cuda/attention.h"
#include "backends/cuda/dnn.h"
#include "backends/cuda/stream.h"
#include "base/log.h"

namespace vivace::cuda {
namespace {

class LibraryAttention final : public BoundKernel {
 public:
  LibraryAttention(std::shared_ptr<const Attention> attention, int algorithm, const Attention::Addresses& addresses)
      : attention_(std::move(attention)), algorithm_(algorithm), addresses_(addresses) {}
  void run(Stream& stream) noexcept override {
    auto& on = static_cast<CudaStream&>(stream);
    on.driver().enter();
    if (const std::string wrong = attention_->run(algorithm_, addresses_, on.handle()); !wrong.empty()) on.fail(wrong);
  }

 private:
  const std::shared_ptr<const Attention> attention_;
  const int algorithm_;
  const Attention::Addresses addresses_;
};

class DnnAttentionOffer final : public Offer {
 public:
  DnnAttentionOffer(std::shared_ptr<const Attention> attention, const KernelCall& call)
      : attention_(std::move(attention)), algorithm_(algorithm_of(*attention_, call)) {
    workspace_bytes = attention_->workspace_bytes(algorithm_);
  }
  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    return std::make_unique<LibraryAttention>(
        attention_, algorithm_,
        Attention::Addresses{.q = buffers.in[0], .k = buffers.in[1], .v = buffers.in[2], .y = buffers.out, .workspace = buffers.workspace});
  }
  std::vector<std::string> variants() const override { return other_algorithms(*attention_); }

 private:
  const std::shared_ptr<const Attention> attention_;
  const int algorithm_;
};

Answer ask_dnn_attention(Driver& driver, const KernelCall& call) {
  if (Refusal reason = refuse_attention_call(call)) return *reason;
  const DType dtype = call.in[0]->dtype;
  if (dtype == DType::float32) return "it multiplies bfloat16 and float16";
  if (call.has(kMask) || call.attrs->integer("causal")) return "it is asked for attention without a mask";
  const AttentionArguments a = attention_arguments(call);
  if (a.head_size % 8 || a.value_size % 8) return "heads whose rows are no multiple of 16 bytes";
  for (const long long pitch : {a.q_row, a.k_row, a.v_row, a.y_row})
    if (pitch % 8) return "rows that are no multiple of 16 bytes";
  DnnLibrary* dnn = driver.dnn();
  if (!dnn) return "there is no cuDNN";
  driver.enter();
  auto attention = dnn->attention({.images = call.in[0]->shape[0],
                                   .heads = a.heads,
                                   .queries = a.queries,
                                   .keys = a.keys,
                                   .head_size = a.head_size,
                                   .value_size = a.value_size,
                                   .q_image = a.q_image,
                                   .k_image = a.k_image,
                                   .v_image = a.v_image,
                                   .y_image = a.y_image,
                                   .q_row = a.q_row,
                                   .k_row = a.k_row,
                                   .v_row = a.v_row,
                                   .y_row = a.y_row,
                                   .dtype = dtype,
                                   .scale = a.scale});
  if (!attention) return "cuDNN has no plan for it";
  return std::make_unique<DnnAttentionOffer>(std::move(attention), call);
}

}  // namespace

void add_library_attention(Driver& driver, Entries& list) {
  list.push_back({.name = "cudnn_attention",
                  .op = Op::attention,
                  .ask = [&driver](const KernelCall& call, const Target&) { return ask_dnn_attention(driver, call); },
                  .strided_in = true,
                  .strided_out = true,
                  .kind = "flash"});
}

}  // namespace vivace::cuda
