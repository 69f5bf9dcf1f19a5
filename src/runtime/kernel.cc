#include "runtime/kernel.h"

#include "vivace/error.h"

namespace vivace {
namespace {

class CallOffer final : public Offer {
 public:
  CallOffer(const KernelCall& call, BindFunction bind) : attrs_(*call.attrs), tuning_(call.tuning), call_(call), bind_(std::move(bind)) {
    call_.attrs = &attrs_;
    call_.tuning = tuning_;
  }
  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override { return bind_(call_, buffers); }

 private:
  const Attrs attrs_;
  const std::string tuning_;
  KernelCall call_;
  const BindFunction bind_;
};

}  // namespace

void Offer::pack(const void*, const void*, void*, Stream&) const { throw InternalError("a kernel without a packed form was to pack"); }

std::unique_ptr<const Offer> call_offer(const KernelCall& call, BindFunction bind, size_t workspace_bytes) {
  auto offer = std::make_unique<CallOffer>(call, std::move(bind));
  offer->workspace_bytes = workspace_bytes;
  return offer;
}

}  // namespace vivace
