// Device: memory, streams, a kernel list, and what kernels and passes may know of the machine. A device's pointer is no host pointer, even where it
// happens to be one: what crosses is a copy, what blocks is Stream::wait().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ir/target.h"
#include "runtime/kernel.h"
#include "vivace/error.h"

namespace vivace {

struct RequestCounters;  // request.h
struct LoopCall;         // step_loop.h
struct LoopKernels;

// What a device can do at most, as measured: the ceiling that `vivace profile` holds kernels against.
struct MachinePeak {
  // Operations a second, a multiply-add being 2, in the arithmetic that the kernels use for them.
  double float32 = 0, bfloat16 = 0, int16 = 0, int8 = 0;
  double bytes = 0;  // a second, read from memory
};

// What a device reported of work that was put on a stream.
class DeviceError : public UserError {
 public:
  DeviceError(const std::string& what, const BoundKernel* kernel) : UserError(what), kernel(kernel) {}
  const BoundKernel* kernel;  // that could not be launched; nullptr where the device does not tell
};

// Work that was put on a stream once, to be put there again as one launch, on the same addresses.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() noexcept = 0;
};

// Bytes of the host's memory on their way to the device.
struct HostCopy {
  void* to;
  const void* from;
  size_t bytes;
};

// What runs and copies in order, for one request. All but wait() return at once, and may leave their work for later.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void launch(BoundKernel& kernel) noexcept = 0;                           // `kernel` and its memory live until the next wait()
  virtual void copy_in(void* to, const void* host, size_t bytes) noexcept = 0;     // `host` may change once this returns
  virtual void copy_out(void* host, const void* from, size_t bytes) noexcept = 0;  // `host` holds nothing before the next wait()
  virtual void copy(void* to, const void* from, size_t bytes) noexcept = 0;        // both the device's
  // Copies of what lies in the device's Memory::host and stays there, beside this order: begun behind what was put here so far, done ahead of what is
  // put here once need(lane) was called. A lane's copies are one order; there are kLanes.
  static constexpr size_t kLanes = 2;
  virtual void ahead(size_t lane, std::span<const HostCopy> copies) noexcept;
  virtual void need(size_t lane) noexcept;
  // What `put` puts on this stream, which is not done now; kernels, copies within the device and those of ahead() alone. nullptr where nothing is
  // gained.
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  // The place in this order behind all that was put here so far; the last few are kept.
  virtual int64_t mark() noexcept { return 0; }
  // Whether the device has come by it. Asks, and waits for nothing.
  virtual bool passed(int64_t) noexcept { return true; }
  // Everything launched and copied so far has been done. The one place where the host blocks for a device: counts host_device_syncs where it had to.
  // Throws DeviceError for what the device reported since the last wait.
  void wait(RequestCounters& counters);

  // Of the request that it works for: long kernels look at it between blocks of work. Who then waits looks too, before it reads what they made.
  std::stop_token stop;

 protected:
  // Whether there was work that the host had to wait for.
  virtual bool finish() = 0;
};

// A part of a device's memory with the name that a plan has for it.
struct MemoryLabel {
  const void* begin;
  size_t bytes;
  std::string name;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual Target target() const = 0;
  // In order of preference; those of Memory::host are graph breaks.
  virtual std::span<const KernelEntry> kernels() const = 0;
  // 64-byte aligned, freed with its last owner. Throws UserError when it cannot be had. Memory::host is what copies are fastest with.
  virtual std::shared_ptr<void> allocate(size_t bytes, Memory memory = Memory::device) = 0;
  virtual std::unique_ptr<Stream> stream() = 0;
  // What keeps a denoising loop's latents there (step_loop.h); none where the host makes each step's.
  virtual LoopKernels loop_kernels(const LoopCall& call);
  // Bytes that it has, and that can still be taken of them; nothing where nobody says so.
  virtual uint64_t memory() const;
  virtual std::optional<uint64_t> free_memory() const;
  // The CPU: a session's ports are the arena itself, mapped files are weights, and copies vanish.
  virtual bool shares_host_memory() const { return false; }
  // Takes about 0.2 s. Nothing where nobody measures it.
  virtual std::optional<MachinePeak> measure_peak() { return std::nullopt; }
  // Where sessions note what lies where, for a device that checks them; nullptr where nobody asks.
  virtual std::vector<MemoryLabel>* labels() { return nullptr; }

  // By name; nullptr when there is none.
  const KernelEntry* find(std::string_view kernel) const;
};

// A copy of the host's bytes in the device's memory, there once `stream` is.
std::shared_ptr<void> upload(Device& device, Stream& stream, const void* host, size_t bytes);

}  // namespace vivace
