#include "runtime/step_loop.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "runtime/request.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::vector<int32_t> row_of(const LoopStep& step, const Bounds& bounds) {
  const auto bits = [](float x) { return std::bit_cast<int32_t>(x); };
  const std::vector<Combination>& all = step.program->combinations();
  std::vector<int32_t> row{step.model_step, bits(step.input_scale), bits(step.guidance_scale), static_cast<int32_t>(all.size())};
  for (const Combination& c : all) {
    if (c.bound == Bound::threshold) throw InternalError("a thresholded step is the host's");
    row.insert(row.end(), {c.target, bits(c.bound == Bound::clip ? bounds.clip_range : 0), static_cast<int32_t>(c.terms.size())});
    for (const Term& term : c.terms) row.insert(row.end(), {term.slot, bits(term.coefficient)});
  }
  return row;
}

int slots_of(std::span<const LoopStep> steps) {
  int last = kPrevSample;
  for (const LoopStep& step : steps)
    for (const Combination& c : step.program->combinations()) {
      last = std::max(last, c.target);
      for (const Term& term : c.terms) last = std::max(last, term.slot);
    }
  return last + 1;
}

}  // namespace

StepLoop::StepLoop(Device& device, const LoopCall& call)
    : device_(device),
      call_(call),
      state_(device.allocate(sizeof(LoopState))),
      fetched_latents_(device.allocate(latent_bytes(), Memory::host)),
      fetched_state_(device.allocate(sizeof(LoopState), Memory::host)) {
  call_.state = static_cast<LoopState*>(state_.get());
  if (call.beside_channels > 0) beside_ = device.allocate(static_cast<size_t>(call.images * call.beside_channels * call.pixels) * sizeof(float));
  call_.beside = static_cast<const float*>(beside_.get());
}

std::unique_ptr<StepLoop> StepLoop::make(Device& device, const LoopCall& call) {
  std::unique_ptr<StepLoop> loop(new StepLoop(device, call));
  loop->kernels_ = device.loop_kernels(loop->call_);
  return loop->kernels_.feed ? std::move(loop) : nullptr;
}

bool StepLoop::fits(const LoopCall& call) const {
  LoopCall same = call;
  same.state = call_.state;
  same.beside = call_.beside;
  return same == call_;
}

void StepLoop::take(Room& room, size_t bytes, Stream& stream, RequestCounters& counters) {
  if (room.bytes >= bytes) return;
  stream.wait(counters);  // an earlier request's steps, if it was stopped
  room = {};
  room = {device_.allocate(bytes), bytes};
  ++counters.allocations;
}

void StepLoop::begin(Stream& stream, std::span<const LoopStep> steps, const Bounds& bounds, const Tensor& latents, const Tensor& beside,
                     RequestCounters& counters) {
  std::vector<std::vector<int32_t>> rows;
  size_t words = 0;
  for (const LoopStep& step : steps) words = std::max(words, rows.emplace_back(row_of(step, bounds)).size());
  std::vector<int32_t> table;
  for (std::vector<int32_t>& row : rows) {
    row.resize(words);
    table.insert(table.end(), row.begin(), row.end());
  }
  take(table_, table.size() * sizeof(int32_t), stream, counters);
  take(slots_, static_cast<size_t>(slots_of(steps)) * latent_bytes(), stream, counters);
  const LoopState state{.table = static_cast<const int32_t*>(table_.memory.get()),
                        .slots = static_cast<float*>(slots_.memory.get()),
                        .row_words = static_cast<int32_t>(words),
                        .row = 0,
                        .bad_row = -1,
                        .unused = 0};
  stream.copy_in(table_.memory.get(), table.data(), table.size() * sizeof(int32_t));
  stream.copy_in(state_.get(), &state, sizeof state);
  stream.copy_in(slot(kSample), latents.data(), latents.bytes());
  if (beside_) stream.copy_in(beside_.get(), beside.data(), beside.bytes());
}

void StepLoop::put_noise(Stream& stream, const Tensor& noise) { stream.copy_in(slot(kNoise), noise.data(), noise.bytes()); }

void StepLoop::fetch(Stream& stream) {
  stream.copy_out(fetched_latents_.get(), slot(kSample), latent_bytes());
  stream.copy_out(fetched_state_.get(), state_.get(), sizeof(LoopState));
}

}  // namespace vivace
