// Communicator: devices of several processes that work on one request, each a rank, in step.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/kernel.h"

namespace vivace {

class Device;    // device.h
struct Request;  // request.h

class Communicator {
 public:
  Communicator(int rank, int size, std::function<void()> watch = {}) : watch(std::move(watch)), rank_(rank), size_(size) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Each rank's `bytes` at `from`, one rank's behind the other's, to `to` on all of them; in the order of the stream that it is put on. All ranks put
  // the same there, in the same order. The kernel keeps the communicator.
  virtual std::unique_ptr<BoundKernel> all_gather(const void* from, void* to, size_t bytes) = 0;
  // Throws UserError where the others cannot be reached any more. Waits for nothing.
  virtual void check() {
    if (watch) watch();
  }
  // What is under way ends without the others, with nothing that is of use, and so does all that is put behind it.
  virtual void abort() noexcept = 0;

  std::function<void()> watch;  // who knows that a rank has ended throws UserError; may be empty

 private:
  const int rank_, size_;
};

// The bytes of each rank, which gives as many as the others, one rank's behind the other's. Waits for them, for as long as they and the request go
// on.
std::vector<std::byte> exchange(Communicator& ranks, Device& device, std::span<const std::byte> mine, Request& request);

// What a Device is besides, where it can be one of several ranks.
class RankDevice {
 public:
  virtual ~RankDevice() = default;
  // What the ranks of one communicator have in common: one of them makes it, and tells the others.
  virtual std::string communicator_id() = 0;
  // This device as one of them. Waits for the others, minutes at most, and asks the communicator's `watch` meanwhile. Both throw UserError where
  // that cannot be had.
  virtual std::shared_ptr<Communicator> communicator(const std::string& id, int rank, int size, std::function<void()> watch = {}) = 0;
};

}  // namespace vivace
