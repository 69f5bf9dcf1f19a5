#include "runtime/communicator.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "runtime/device.h"
#include "runtime/request.h"

namespace vivace {

std::vector<std::byte> exchange(Communicator& ranks, Device& device, std::span<const std::byte> mine, Request& request) {
  constexpr std::chrono::microseconds kPause{100};
  const size_t bytes = mine.size() * static_cast<size_t>(ranks.size());
  const std::shared_ptr<void> from = device.allocate(mine.size()), to = device.allocate(bytes), back = device.allocate(bytes, Memory::host);
  const std::unique_ptr<Stream> stream = device.stream();
  const std::unique_ptr<BoundKernel> gather = ranks.all_gather(from.get(), to.get(), mine.size());
  stream->copy_in(from.get(), mine.data(), mine.size());
  stream->launch(*gather);
  stream->copy_out(back.get(), to.get(), bytes);
  try {
    for (const int64_t end = stream->mark(); !stream->passed(end); std::this_thread::sleep_for(kPause)) {
      request.check();
      ranks.check();
    }
  } catch (...) {
    ranks.abort();  // or the memory would go while it is written
    throw;
  }
  stream->wait(request.counters);
  std::vector<std::byte> all(bytes);
  std::memcpy(all.data(), back.get(), bytes);
  return all;
}

}  // namespace vivace
