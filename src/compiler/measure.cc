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

std::shared_ptr<void> KernelTimer::filled(const Operand& o) {
  const size_t bytes = operand_bytes(o);
  const std::shared_ptr<void> values = device_.allocate(bytes, Memory::host);
  fill(o.dtype, values.get(), bytes);
  return device_.shares_host_memory() ? values : upload(device_, *stream_, values.get(), bytes);
}

KernelTimer::KernelTimer(const KernelCall& call, Device& device, size_t weights, std::stop_token stop)
    : device_(device),
      stream_(device.stream()),
      call_(call),
      weights_(std::min(weights, kBeyondCache)),
      out_(device.allocate(operand_bytes(call.out))) {
  stream_->stop = std::move(stop);
  for (const std::optional<Operand>& operand : call.in) in_.push_back(operand ? filled(*operand) : nullptr);
}

KernelTimer::Packed& KernelTimer::packed(const Offer& offer) {
  const PackedForm& form = *offer.packed;
  Packed& packed = packed_[form.key];
  const size_t bytes = form.bytes, copies = std::clamp<size_t>(weights_ / std::max<size_t>(1, bytes), 1, kMostCopies);
  if (packed.copies.size() >= copies) return packed;
  // One form at a time has copies: all of them together would take several times what the model's weights do.
  for (auto& [key, other] : packed_)
    if (&other != &packed && other.copies.size() > 1) {
      other.copies.resize(1);
      other.next = 0;
    }
  if (packed.copies.empty()) {
    packed.copies.push_back(device_.allocate(bytes));
    const void* scales = form.scales >= 0 ? in_[static_cast<size_t>(form.scales)].get() : nullptr;
    const auto pack = bound([&](Stream& stream) { offer.pack(in_[static_cast<size_t>(form.input)].get(), scales, packed.copies[0].get(), stream); });
    stream_->launch(*pack);
  }
  if (copies > 1) {
    // In one piece: each on pages of its own would round small ones up to what they are not.
    constexpr size_t kLine = 64;
    const size_t stride = (bytes + kLine - 1) / kLine * kLine;
    const std::shared_ptr<void> more = device_.allocate((copies - 1) * stride);
    for (size_t i = 0; i + 1 < copies; ++i) {
      packed.copies.emplace_back(more, static_cast<char*>(more.get()) + i * stride);
      stream_->copy(packed.copies.back().get(), packed.copies[0].get(), bytes);
    }
  }
  stream_->wait(waits_);
  return packed;
}

Timing KernelTimer::time(const KernelEntry& entry, std::string_view tuning, const TimingBudget& budget) {
  const FixedThreads fixed(num_threads());
  call_.tuning = tuning;
  const Answer answer = entry.ask(call_, device_.target());
  if (!answer.offer) throw InternalError(cat("kernel ", entry.name, " was to be timed, and refuses: ", answer.reason));
  const Offer& offer = *answer.offer;
  if (const size_t bytes = offer.workspace_bytes; bytes > workspace_bytes_) {
    workspace_ = device_.allocate(bytes);
    workspace_bytes_ = bytes;
  }
  Buffers buffers{.in = {}, .out = out_.get(), .workspace = workspace_.get()};
  for (const auto& in : in_) buffers.in.push_back(in.get());
  Packed* weights = offer.packed ? &packed(offer) : nullptr;
  const auto run = [&] {
    if (weights) buffers.in[static_cast<size_t>(offer.packed->input)] = weights->copies[weights->next++ % weights->copies.size()].get();
    const std::unique_ptr<BoundKernel> kernel = offer.bind(buffers);
    const auto begin = Clock::now();
    stream_->launch(*kernel);
    stream_->wait(waits_);
    return seconds_since(begin);
  };
  if (budget.warm_up) run();
  std::vector<double> seconds;
  const auto begin = Clock::now();
  do seconds.push_back(run());
  while (static_cast<int>(seconds.size()) < budget.runs && seconds_since(begin) < budget.seconds && !stopped(&stream_->stop));
  std::ranges::sort(seconds);
  return {seconds[0], seconds[seconds.size() / 2], static_cast<int>(seconds.size())};
}

}  // namespace vivace
