// Times kernels alone, on buffers of their own: what autotuning compares.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/device.h"
#include "runtime/request.h"
#include "runtime/session.h"

namespace vivace {

// Seconds of single runs; on a device with a memory of its own of a few in a row, by their number.
struct Timing {
  double min = 0, median = 0;
  int runs = 0;
};

struct TimingBudget {
  int runs = 5;
  double seconds = 0.25;  // no further run once this has passed; one is always made
  bool warm_up = true;    // a run before them that does not count
};

// More than a last-level cache holds.
inline constexpr size_t kBeyondCache = size_t{64} << 20;

// Memory for measurements one after the other: large blocks that one gave back are the next one's, so that no search begins by touching fresh pages.
// Copies share them.
class TimingMemory {
 public:
  TimingMemory(Device& device) : state_(std::make_shared<State>(device)) {}  // NOLINT(google-explicit-constructor): a device is memory
  std::shared_ptr<void> allocate(size_t bytes);
  Device& device() const { return state_->device; }

 private:
  struct Block {
    size_t bytes;
    std::shared_ptr<void> memory;
  };
  struct State {
    Device& device;
    std::vector<Block> unused;
  };
  std::shared_ptr<State> state_;
};

// The operands of one call, to time any kernel that accepts it. Inputs hold small random values (indices are 0) and stay in the caches as far as
// they fit, as what a kernel reads mostly does in a plan; packed weights are kept several times over and taken in turn, so that they come from
// where they come from there: memory, or a cache where the model's weights are few. One timing runs on the pool of num_threads() at a time.
class KernelTimer {
 public:
  // `call`'s attributes must outlive the timer. `weights`: bytes that pass between two runs of the call in a plan, all of the model's. Takes memory
  // for the operands, and for copies of its weights no more than for those; throws UserError when there is none.
  // `stop`: kernels look at it; a timing that it ended means nothing.
  KernelTimer(const KernelCall& call, TimingMemory memory, size_t weights = kBeyondCache, std::stop_token stop = {});
  // The kernel must have accepted the call. `tuning` as in KernelCall, instead of the call's own.
  Timing time(const KernelEntry& entry, std::string_view tuning, const TimingBudget& budget = {});

 private:
  // One form at a time has copies: all of them together would take several times what the model's weights do.
  struct Copies {
    std::string key;  // of the form
    std::shared_ptr<void> memory;
    size_t bytes = 0;        // of the memory
    std::vector<void*> all;  // the packed weights themselves, and then the copies
    size_t next = 0;
  };
  void copy_packed(const Offer& offer);

  std::shared_ptr<void> filled(const Operand& operand);

  TimingMemory memory_;
  Device& device_;
  std::unique_ptr<Stream> stream_;
  RequestCounters waits_;  // of measurements, which no request is asked about
  KernelCall call_;
  size_t weights_;
  std::vector<std::shared_ptr<void>> in_;
  std::shared_ptr<void> out_, workspace_;
  size_t workspace_bytes_ = 0;
  std::map<std::string, std::shared_ptr<void>> packed_;  // by PackedForm::key
  Copies copies_;
};

// Seconds of a call of the session: setup and a step, and one wait for both.
double time_call(Session& session, Request& request);

}  // namespace vivace
