// NCCL's functions on the host. Ranks are threads of a process or processes: they exchange through files of a folder. A stream that comes to an
// exchange goes on when the others have come to it too. What the library would refuse is refused.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/cuda/nccl.h"
#include "host_device.h"
#include "temp_folder.h"

namespace vivace::cuda {
namespace {

namespace fs = std::filesystem;

// One of the ranks of an id, which is their folder.
class Rank {
 public:
  Rank(fs::path folder, size_t rank, size_t size) : folder_(std::move(folder)), rank_(rank), size_(size) {}

  // Until all are there; false where one does not come, or was told of another number of them.
  bool meet() const {
    constexpr std::chrono::seconds kPatience{60};
    constexpr std::chrono::milliseconds kPause{1};
    const std::string told = std::to_string(size_);
    write("here", rank_, told.data(), told.size());
    for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(kPause)) {
      size_t there = 0;
      for (size_t r = 0; r < size_ && fs::exists(file("here", r)); ++r) there += read("here", r) == told ? 1 : 0;
      if (there == size_) return true;
    }
    return false;
  }
  // Which exchange it is: this rank's next.
  int64_t give(const void* from, size_t bytes) {
    write(std::to_string(next_), rank_, from, bytes);
    return next_++;
  }
  // The parts of all, in their order; kNotReady before all have given theirs.
  Status take(int64_t number, void* to, size_t bytes) const {
    const std::string name = std::to_string(number);
    for (size_t r = 0; r < size_; ++r)
      if (!fs::exists(file(name, r))) return aborted_ ? kSuccess : kNotReady;
    for (size_t r = 0; r < size_; ++r) {
      const std::string part = read(name, r);
      if (part.size() != bytes) return kDiffers;
      std::memcpy(static_cast<char*>(to) + r * bytes, part.data(), bytes);
    }
    return kSuccess;
  }
  void abort() { aborted_ = true; }

 private:
  static constexpr Status kDiffers = 1;
  fs::path file(const std::string& name, size_t rank) const { return folder_ / (name + '.' + std::to_string(rank)); }
  // Whole, or not there yet.
  void write(const std::string& name, size_t rank, const void* data, size_t bytes) const {
    const fs::path to = file(name, rank), part = to.string() + ".part";
    std::ofstream(part, std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    fs::rename(part, to);
  }
  std::string read(const std::string& name, size_t rank) const {
    std::ifstream in(file(name, rank), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const fs::path folder_;
  const size_t rank_, size_;
  int64_t next_ = 0;
  std::atomic<bool> aborted_ = false;
};

struct Joined {
  std::shared_ptr<Rank> rank;
  HostDriver& driver;
  std::shared_ptr<char> recorded = std::make_shared<char>();  // its owners but this are recordings
};
Joined& of(ncclComm_t handle) { return *reinterpret_cast<Joined*>(handle); }

const char* explain(ncclResult_t result) { return result == ncclSuccess ? "no error" : "invalid argument (run with NCCL_DEBUG=WARN for details)"; }
const char* last_error(ncclComm_t) { return ""; }

ncclResult_t unique_id(ncclUniqueId* id) {
  static std::mutex mutex;
  static std::deque<TempFolder> folders;  // until the process ends
  const std::lock_guard lock(mutex);
  const std::string text = folders.emplace_back().path().string();
  if (text.size() >= sizeof id->internal) return ncclSystemError;
  std::memset(id->internal, 0, sizeof id->internal);
  std::ranges::copy(text, id->internal);
  return ncclSuccess;
}

ncclResult_t init_rank(ncclComm_t* handle, int size, ncclUniqueId id, int rank) {
  if (size < 1 || rank < 0 || rank >= size) return ncclInvalidArgument;
  auto joined = std::make_shared<Rank>(id.internal, static_cast<size_t>(rank), static_cast<size_t>(size));
  *handle = reinterpret_cast<ncclComm_t>(new Joined{joined, HostDriver::entered()});
  return joined->meet() ? ncclSuccess : ncclSystemError;
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
  of(handle).rank->abort();
  for (int i = 0; i < kPauses && of(handle).recorded.use_count() > 1; ++i) std::this_thread::sleep_for(kPause);
  return destroy(handle);
}

ncclResult_t all_gather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t handle, cudaStream_t stream) {
  if (type != ncclUint8 || &of(handle).driver != &HostDriver::entered()) return ncclInvalidArgument;
  const bool recorded = of(handle).driver.captures(reinterpret_cast<DriverStream*>(stream));
  const auto exchange = [rank = of(handle).rank, from, to, count, number = int64_t{-1},
                         recording = recorded ? of(handle).recorded : nullptr]() mutable {
    if (number < 0) number = rank->give(from, count);
    return rank->take(number, to, count);
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
