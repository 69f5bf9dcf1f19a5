#include "compiler/measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/log.h"
#include "base/parallel.h"
#include "base/pool.h"
#include "base/seconds.h"
#include "vivace/error.h"
#include "vivace/generator.h"

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostCopies = 16;  // small weights are not copied without end
constexpr int kInARow = 10;

size_t operand_bytes(const Operand& o) { return static_cast<size_t>(std::max<int64_t>(1, o.rows() * o.row_pitch())) * dtype_size(o.dtype); }

// Values of about 0.1, repeated every few thousand; 0 for integers, which are indices into tables.
void fill(DType dtype, void* data, size_t bytes) {
  if (!is_floating(dtype)) {
    std::memset(data, 0, bytes);
    return;
  }
  constexpr int64_t kPeriod = 4099;  // prime: rows differ
  Tensor values = Generator(0).randn({kPeriod});
  for (float& x : values.floats()) x *= 0.1f;
  const Tensor block = values.to(dtype);
  for (size_t at = 0; at < bytes; at += block.bytes()) std::memcpy(static_cast<char*>(data) + at, block.data(), std::min(block.bytes(), bytes - at));
}

}  // namespace

std::shared_ptr<void> TimingMemory::allocate(size_t bytes) {
  constexpr size_t kLarge = size_t{512} << 10, kMostWaste = 4;
  if (bytes < kLarge) return device().allocate(bytes);
  std::vector<Block>& unused = state_->unused;
  auto best = unused.end();
  for (auto at = unused.begin(); at != unused.end(); ++at)
    if (at->bytes >= bytes && at->bytes / kMostWaste <= bytes && (best == unused.end() || at->bytes < best->bytes)) best = at;
  Block block{bytes, nullptr};
  if (best != unused.end()) {
    block = std::move(*best);
    unused.erase(best);
  } else {
    unused.clear();
    block.memory = device().allocate(bytes);
  }
  void* const data = block.memory.get();
  return {data, [state = state_, block = std::move(block)](void*) { state->unused.push_back(block); }};
}

std::shared_ptr<void> KernelTimer::filled(const Operand& o) {
  const size_t bytes = operand_bytes(o);
  const bool shared = device_.shares_host_memory();
  const std::shared_ptr<void> values = shared ? memory_.allocate(bytes) : device_.allocate(bytes, Memory::host);
  fill(o.dtype, values.get(), bytes);
  return shared ? values : upload(device_, *stream_, values.get(), bytes);
}

KernelTimer::KernelTimer(const KernelCall& call, TimingMemory memory, size_t weights, std::stop_token stop)
    : memory_(std::move(memory)),
      device_(memory_.device()),
      stream_(device_.stream()),
      call_(call),
      weights_(std::min(weights, kBeyondCache)),
      out_(memory_.allocate(operand_bytes(call.out))) {
  stream_->stop = std::move(stop);
  for (const std::optional<Operand>& operand : call.in) in_.push_back(operand ? filled(*operand) : nullptr);
}

void KernelTimer::copy_packed(const Offer& offer) {
  const PackedForm& form = *offer.packed;
  if (copies_.key == form.key) return;
  const size_t bytes = form.bytes, count = std::clamp<size_t>(weights_ / std::max<size_t>(1, bytes), 1, kMostCopies);
  std::shared_ptr<void>& packed = packed_[form.key];
  if (!packed) {
    packed = memory_.allocate(bytes);
    const void* scales = form.scales >= 0 ? in_[static_cast<size_t>(form.scales)].get() : nullptr;
    const auto pack = bound([&](Stream& stream) { offer.pack(in_[static_cast<size_t>(form.input)].get(), scales, packed.get(), stream); });
    stream_->launch(*pack);
  }
  // In one piece: each on pages of its own would round small ones up to what they are not.
  constexpr size_t kLine = 64;
  const size_t stride = (bytes + kLine - 1) / kLine * kLine;
  if (const size_t all = (count - 1) * stride; all > copies_.bytes) {
    copies_.memory.reset();
    copies_.memory = memory_.allocate(all);
    copies_.bytes = all;
  }
  copies_.key = form.key;
  copies_.all = {packed.get()};
  copies_.next = 0;
  for (size_t i = 0; i + 1 < count; ++i) {
    copies_.all.push_back(static_cast<char*>(copies_.memory.get()) + i * stride);
    stream_->copy(copies_.all.back(), packed.get(), bytes);
  }
  stream_->wait(waits_);
}

Timing KernelTimer::time(const KernelEntry& entry, std::string_view tuning, const TimingBudget& budget) {
  const FixedThreads fixed(num_threads());
  call_.tuning = tuning;
  const Answer answer = entry.ask(call_, device_.target());
  if (!answer.offer) throw InternalError(cat("kernel ", entry.name, " was to be timed, and refuses: ", answer.reason));
  const Offer& offer = *answer.offer;
  if (const size_t bytes = offer.workspace_bytes; bytes > workspace_bytes_) {
    workspace_.reset();
    workspace_ = memory_.allocate(bytes);
    workspace_bytes_ = bytes;
  }
  Buffers buffers{.in = {}, .out = out_.get(), .workspace = workspace_.get()};
  for (const auto& in : in_) buffers.in.push_back(in.get());
  if (offer.packed) copy_packed(offer);
  // A launch of a device and the wait for it take as long as many a kernel: of several in a row they are hidden. What is launched first may wait for
  // its compiler, and counts for nothing.
  const bool is_host = device_.shares_host_memory();
  const int in_a_row = is_host ? 1 : kInARow;
  const auto run = [&] {
    std::vector<std::unique_ptr<BoundKernel>> kernels;
    for (int i = 0; i < in_a_row; ++i) {
      if (offer.packed) buffers.in[static_cast<size_t>(offer.packed->input)] = copies_.all[copies_.next++ % copies_.all.size()];
      kernels.push_back(offer.bind(buffers));
    }
    if (!is_host) {
      stream_->launch(*kernels[0]);
      stream_->wait(waits_);
    }
    const auto begin = Clock::now();
    for (const std::unique_ptr<BoundKernel>& kernel : kernels) stream_->launch(*kernel);
    stream_->wait(waits_);
    return seconds_since(begin) / in_a_row;
  };
  if (budget.warm_up) run();
  std::vector<double> seconds;
  const auto begin = Clock::now();
  do seconds.push_back(run());
  while (static_cast<int>(seconds.size()) < budget.runs && seconds_since(begin) < budget.seconds && !stopped(&stream_->stop));
  std::ranges::sort(seconds);
  return {seconds[0], seconds[seconds.size() / 2], static_cast<int>(seconds.size())};
}

double time_call(Session& session, Request& request) {
  const auto begin = Clock::now();
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  session.wait(request);
  return seconds_since(begin);
}

}  // namespace vivace
