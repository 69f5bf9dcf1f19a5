#include "backends/cuda/nccl.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "backends/cuda/device.h"
#include "backends/cuda/library.h"
#include "backends/cuda/stream.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

class NcclCommunicator final : public Communicator, public std::enable_shared_from_this<NcclCommunicator> {
 public:
  NcclCommunicator(const NcclFunctions& functions, std::shared_ptr<CudaDevice> device, const ncclUniqueId& id, int rank, int size)
      : Communicator(rank, size), f_(functions), device_(std::move(device)) {
    device_->driver().enter();
    if (const ncclResult_t result = f_.init_rank(&handle_, size, id, rank); result != ncclSuccess)
      throw UserError(cat(device_->label(), ": rank ", rank, " of ", size, " cannot join the others: ", explain(result)));
  }
  ~NcclCommunicator() override {
    if (!handle_) return;
    device_->driver().enter();
    (lost_ ? f_.abort : f_.destroy)(handle_);  // to destroy one may wait for the others
  }

  std::unique_ptr<BoundKernel> all_gather(const void* from, void* to, size_t bytes) override;

  void check() override {
    try {
      Communicator::check();
    } catch (...) {
      lost_ = true;
      throw;
    }
    const std::lock_guard lock(mutex_);
    if (!handle_) throw UserError(cat(device_->label(), ": this rank has left the others in the middle of a request: start all of them again"));
    ncclResult_t result = ncclSuccess;
    f_.async_error(handle_, &result);
    if (result == ncclSuccess || result == ncclInProgress) return;
    lost_ = true;
    throw UserError(cat(device_->label(), ": the other ranks cannot be reached: ", explain(result)));
  }
  void abort() noexcept override {
    const std::lock_guard lock(mutex_);
    if (!handle_) return;
    device_->driver().enter();
    f_.abort(std::exchange(handle_, nullptr));
  }

  // "" or what went wrong.
  std::string gather(const void* from, void* to, size_t bytes, DriverStream* stream) {
    const std::lock_guard lock(mutex_);
    if (!handle_) return "exchanging predictions: this rank has left the others";
    device_->driver().enter();
    const ncclResult_t result = f_.all_gather(from, to, bytes, ncclUint8, handle_, reinterpret_cast<cudaStream_t>(stream));
    return result == ncclSuccess ? "" : cat("exchanging predictions: ", explain(result));
  }

 private:
  std::string explain(ncclResult_t result) const {
    const char* const last = f_.last_error(handle_);
    std::string text = f_.explain(result);
    if (last && *last) text += cat(": ", last);
    std::ranges::replace(text, '\n', ' ');
    return text;
  }

  const NcclFunctions f_;
  const std::shared_ptr<CudaDevice> device_;
  std::mutex mutex_;
  ncclComm_t handle_ = nullptr;     // none after abort()
  std::atomic<bool> lost_ = false;  // another rank is
};

class Gather final : public BoundKernel {
 public:
  Gather(std::shared_ptr<NcclCommunicator> communicator, const void* from, void* to, size_t bytes)
      : communicator_(std::move(communicator)), from_(from), to_(to), bytes_(bytes) {}
  void run(Stream& stream) noexcept override {
    auto& on = static_cast<CudaStream&>(stream);
    if (const std::string wrong = communicator_->gather(from_, to_, bytes_, on.handle()); !wrong.empty()) on.fail(wrong);
  }

 private:
  const std::shared_ptr<NcclCommunicator> communicator_;
  const void* const from_;
  void* const to_;
  const size_t bytes_;
};

std::unique_ptr<BoundKernel> NcclCommunicator::all_gather(const void* from, void* to, size_t bytes) {
  return std::make_unique<Gather>(shared_from_this(), from, to, bytes);
}

class Nccl final : public CollectiveLibrary {
 public:
  explicit Nccl(const NcclFunctions& functions) : f_(functions) {}

  std::string id() override {
    ncclUniqueId id;
    if (const ncclResult_t result = f_.unique_id(&id); result != ncclSuccess) throw UserError(cat("cuda: NCCL cannot be used: ", f_.explain(result)));
    return {id.internal, sizeof id.internal};
  }
  std::shared_ptr<Communicator> communicator(std::shared_ptr<CudaDevice> device, const std::string& text, int rank, int size) override {
    ncclUniqueId id;
    if (text.size() != sizeof id.internal) throw InternalError(cat("an id of NCCL of ", text.size(), " bytes"));
    std::ranges::copy(text, id.internal);
    return std::make_shared<NcclCommunicator>(f_, std::move(device), id, rank, size);
  }

 private:
  const NcclFunctions f_;
};

}  // namespace

std::unique_ptr<CollectiveLibrary> nccl(const NcclFunctions& functions) { return std::make_unique<Nccl>(functions); }

NcclFunctions find_nccl() {
  static const Library library("cuda", {"libnccl.so.2"}, "install NCCL 2, or use --parallel prompts, which needs none");
  NcclFunctions f;
  library.find("ncclGetErrorString", f.explain);
  library.find("ncclGetLastError", f.last_error);
  library.find("ncclGetUniqueId", f.unique_id);
  library.find("ncclCommInitRank", f.init_rank);
  library.find("ncclCommGetAsyncError", f.async_error);
  library.find("ncclCommAbort", f.abort);
  library.find("ncclCommDestroy", f.destroy);
  library.find("ncclAllGather", f.all_gather);
  return f;
}

std::unique_ptr<CollectiveLibrary> open_nccl() { return nccl(find_nccl()); }

}  // namespace vivace::cuda
