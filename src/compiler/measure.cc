#include "compiler/measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/parallel.h"
#include "base/pool.h"
#include "base/seconds.h"
#include "vivace/generator.h"

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostCopies = 16;  // small weights are not copied without end

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

bool is_packed(const KernelEntry& entry, const KernelCall& call) {
  const auto i = static_cast<size_t>(entry.packed_input);
  return entry.packed_input >= 0 && call.has(i) && call.in[i]->constant;
}

}  // namespace

std::shared_ptr<void> KernelTimer::filled(const Operand& o) {
  const size_t bytes = operand_bytes(o);
  const std::shared_ptr<void> values = device_.allocate(bytes, Memory::host);
  fill(o.dtype, values.get(), bytes);
  return device_.shares_host_memory() ? values : upload(device_, *stream_, values.get(), bytes);
}

KernelTimer::KernelTimer(const KernelCall& call, Device& device, size_t weights)
    : device_(device),
      stream_(device.stream()),
      call_(call),
      weights_(std::min(weights, kBeyondCache)),
      out_(device.allocate(operand_bytes(call.out))) {
  for (const std::optional<Operand>& operand : call.in) in_.push_back(operand ? filled(*operand) : nullptr);
}

KernelTimer::Packed& KernelTimer::packed(const KernelEntry& entry) {
  Packed& packed = packed_[packed_key(entry, call_, "")];
  if (!packed.copies.empty()) return packed;
  const size_t bytes = entry.packed_bytes(call_), copies = std::clamp<size_t>(weights_ / std::max<size_t>(1, bytes), 1, kMostCopies);
  packed.copies.push_back(device_.allocate(bytes));
  const auto scales = static_cast<size_t>(entry.packed_scales);
  const void* given = entry.packed_scales >= 0 && call_.has(scales) ? in_[scales].get() : nullptr;
  const auto pack = bound([&] { entry.pack(call_, in_[static_cast<size_t>(entry.packed_input)].get(), given, packed.copies[0].get()); });
  stream_->launch(*pack);
  while (packed.copies.size() < copies) {
    packed.copies.push_back(device_.allocate(bytes));
    stream_->copy(packed.copies.back().get(), packed.copies[0].get(), bytes);
  }
  stream_->wait(waits_);
  return packed;
}

Timing KernelTimer::time(const KernelEntry& entry, std::string_view tuning, const TimingBudget& budget) {
  const FixedThreads fixed(num_threads());
  call_.tuning = tuning;
  if (const size_t bytes = entry.workspace_bytes ? entry.workspace_bytes(call_) : 0; bytes > workspace_bytes_) {
    workspace_ = device_.allocate(bytes);
    workspace_bytes_ = bytes;
  }
  Buffers buffers{.in = {}, .out = out_.get(), .workspace = workspace_.get()};
  for (const auto& in : in_) buffers.in.push_back(in.get());
  Packed* weights = is_packed(entry, call_) ? &packed(entry) : nullptr;
  const auto run = [&] {
    if (weights) buffers.in[static_cast<size_t>(entry.packed_input)] = weights->copies[weights->next++ % weights->copies.size()].get();
    const std::unique_ptr<BoundKernel> kernel = entry.bind(call_, buffers);
    const auto begin = Clock::now();
    stream_->launch(*kernel);
    stream_->wait(waits_);
    return seconds_since(begin);
  };
  if (budget.warm_up) run();
  std::vector<double> seconds;
  const auto begin = Clock::now();
  do seconds.push_back(run());
  while (static_cast<int>(seconds.size()) < budget.runs && seconds_since(begin) < budget.seconds);
  std::ranges::sort(seconds);
  return {seconds[0], seconds[seconds.size() / 2], static_cast<int>(seconds.size())};
}

}  // namespace vivace
