// NCCL's functions on the host: ranks are threads of this process. A stream that comes to an exchange goes on when the others have come to it too.
// What the library would refuse is refused.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/cuda/nccl.h"
#include "host_device.h"

namespace vivace::cuda {
namespace {

// The ranks of one id. Each has its own place among their exchanges.
class Ranks {
 public:
  explicit Ranks(int size) : next_(static_cast<size_t>(size)), aborted_(static_cast<size_t>(size)) {}
  size_t size() const { return next_.size(); }

  // Until all are there; false where one does not come.
  bool meet() {
    constexpr std::chrono::seconds kPatience{60};
    std::unique_lock lock(mutex_);
    if (++there_ == size()) changed_.notify_all();
    return changed_.wait_for(lock, kPatience, [&] { return there_ == size(); });
  }
  // Which exchange it is: this rank's next.
  int64_t give(size_t rank, const void* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    const int64_t number = next_[rank]++;
    Exchange& exchange = exchanges_[number];
    exchange.parts.resize(size());
    exchange.parts[rank].assign(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    ++exchange.given;
    return number;
  }
  // The parts of all, in their order; kNotReady before all have given theirs.
  Status take(size_t rank, int64_t number, void* to, size_t bytes) {
    const std::lock_guard lock(mutex_);
    Exchange& exchange = exchanges_[number];
    if (exchange.given < size()) return aborted_[rank] ? kSuccess : kNotReady;
    for (const std::vector<char>& part : exchange.parts) {
      if (part.size() != bytes) return kDiffers;
      std::memcpy(to, part.data(), bytes);
      to = static_cast<char*>(to) + bytes;
    }
    if (++exchange.taken == size()) exchanges_.erase(number);
    return kSuccess;
  }
  void abort(size_t rank) {
    const std::lock_guard lock(mutex_);
    aborted_[rank] = true;
  }

 private:
  static constexpr Status kDiffers = 1;
  struct Exchange {
    std::vector<std::vector<char>> parts;
    size_t given = 0, taken = 0;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t there_ = 0;
  std::vector<int64_t> next_;  // by rank
  std::vector<bool> aborted_;
  std::map<int64_t, Exchange> exchanges_;
};

std::mutex g_mutex;
std::map<std::string, std::shared_ptr<Ranks>> g_ranks;  // by id
int64_t g_ids = 0;

struct Joined {
  std::shared_ptr<Ranks> ranks;
  size_t rank;
  HostDriver& driver;
  std::shared_ptr<char> recorded = std::make_shared<char>();  // its owners but this are recordings
};
Joined& of(ncclComm_t handle) { return *reinterpret_cast<Joined*>(handle); }

const char* explain(ncclResult_t result) { return result == ncclSuccess ? "no error" : "invalid argument (run with NCCL_DEBUG=WARN for details)"; }
const char* last_error(ncclComm_t) { return ""; }

ncclResult_t unique_id(ncclUniqueId* id) {
  const std::lock_guard lock(g_mutex);
  std::memset(id->internal, 0, sizeof id->internal);
  const std::string text = "host " + std::to_string(++g_ids);
  std::ranges::copy(text, id->internal);
  return ncclSuccess;
}

ncclResult_t init_rank(ncclComm_t* handle, int size, ncclUniqueId id, int rank) {
  if (size < 1 || rank < 0 || rank >= size) return ncclInvalidArgument;
  std::shared_ptr<Ranks> ranks;
  {
    const std::lock_guard lock(g_mutex);
    std::shared_ptr<Ranks>& found = g_ranks[std::string(id.internal, sizeof id.internal)];
    if (!found) found = std::make_shared<Ranks>(size);
    ranks = found;
  }
  if (ranks->size() != static_cast<size_t>(size)) return ncclInvalidArgument;
  *handle = reinterpret_cast<ncclComm_t>(new Joined{ranks, static_cast<size_t>(rank), HostDriver::entered()});
  return ranks->meet() ? ncclSuccess : ncclSystemError;
}

ncclResult_t async_error(ncclComm_t, ncclResult_t* result) {
  *result = ncclSuccess;
  return ncclSuccess;
}

ncclResult_t destroy(ncclComm_t handle) {
  delete &of(handle);
  return ncclSuccess;
}

// What is under way ends; then the library waits until no recording has the communicator in it.
ncclResult_t abort(ncclComm_t handle) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kPauses = 6000;
  of(handle).ranks->abort(of(handle).rank);
  for (int i = 0; i < kPauses && of(handle).recorded.use_count() > 1; ++i) std::this_thread::sleep_for(kPause);
  return destroy(handle);
}

ncclResult_t all_gather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t handle, cudaStream_t stream) {
  if (type != ncclUint8 || &of(handle).driver != &HostDriver::entered()) return ncclInvalidArgument;
  const bool recorded = of(handle).driver.captures(reinterpret_cast<DriverStream*>(stream));
  const auto exchange = [ranks = of(handle).ranks, rank = of(handle).rank, from, to, count, number = int64_t{-1},
                         recording = recorded ? of(handle).recorded : nullptr]() mutable {
    if (number < 0) number = ranks->give(rank, from, count);
    return ranks->take(rank, number, to, count);
  };
  const Status status = of(handle).driver.put(reinterpret_cast<DriverStream*>(stream), exchange);
  return status == kSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

}  // namespace

std::unique_ptr<CollectiveLibrary> host_collectives() {
  return nccl({.explain = explain,
               .last_error = last_error,
               .unique_id = unique_id,
               .init_rank = init_rank,
               .async_error = async_error,
               .abort = abort,
               .destroy = destroy,
               .all_gather = all_gather});
}

}  // namespace vivace::cuda
