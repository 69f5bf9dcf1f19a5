#include "backends/cuda/nccl.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <system_error>
#include <thread>
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
  NcclCommunicator(const NcclFunctions& functions, std::shared_ptr<CudaDevice> device, const ncclUniqueId& id, int rank, int size,
                   std::function<void()> watch)
      : Communicator(rank, size, std::move(watch)), f_(functions), device_(std::move(device)) {
    join(id);
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
    // What is under way ends at once. Then the library waits until no recording has the communicator in it, which sessions keep: not for that.
    constexpr std::chrono::seconds kPatience{2};
    try {
      std::promise<void> aborted;
      const std::future<void> ended = aborted.get_future();
      std::thread([f = f_, device = device_, handle = handle_, aborted = std::move(aborted)]() mutable {
        device->driver().enter();
        f.abort(handle);
        aborted.set_value();
      }).detach();
      ended.wait_for(kPatience);
    } catch (const std::system_error&) {  // there are no more threads to be had
      device_->driver().enter();
      f_.abort(handle_);
    }
    handle_ = nullptr;
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
  // The library waits for the others as long as it takes and cannot be told to stop: on a thread of its own, which is left where they are missed.
  struct Joining {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false, left = false;  // by the library; by who waited for it
    ncclResult_t result = ncclSuccess;
    ncclComm_t handle = nullptr;
  };
  void join(const ncclUniqueId& id) {
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds kPause{10};
    constexpr std::chrono::minutes kPatience{5};
    const auto joining = std::make_shared<Joining>();
    std::thread([joining, id, f = f_, device = device_, rank = rank(), size = size()] {
      device->driver().enter();
      ncclComm_t handle = nullptr;
      const ncclResult_t result = f.init_rank(&handle, size, id, rank);
      {
        const std::lock_guard lock(joining->mutex);
        joining->done = true, joining->result = result, joining->handle = handle;
        joining->changed.notify_all();
        if (!joining->left) return;
      }
      if (result == ncclSuccess) f.abort(handle);
    }).detach();
    const std::string who = cat(device_->label(), ": rank ", rank(), " of ", size(), " cannot join the others: ");
    const Clock::time_point end = Clock::now() + kPatience;
    std::unique_lock lock(joining->mutex);
    try {
      while (!joining->changed.wait_for(lock, kPause, [&] { return joining->done; })) {
        if (watch) watch();
        if (Clock::now() >= end) throw UserError(cat(who, "they did not come within ", kPatience.count(), " minutes"));
      }
    } catch (...) {
      joining->left = true;
      throw;
    }
    if (joining->result != ncclSuccess) throw UserError(cat(who, explain(joining->result)));
    handle_ = joining->handle;
  }

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
  std::shared_ptr<Communicator> communicator(std::shared_ptr<CudaDevice> device, const std::string& text, int rank, int size,
                                             std::function<void()> watch) override {
    ncclUniqueId id;
    if (text.size() != sizeof id.internal) throw InternalError(cat("an id of NCCL of ", text.size(), " bytes"));
    std::ranges::copy(text, id.internal);
    return std::make_shared<NcclCommunicator>(f_, std::move(device), id, rank, size, std::move(watch));
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
