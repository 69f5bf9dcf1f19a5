#include "runtime/step_loop.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "runtime/communicator.h"
#include "runtime/request.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::vector<int32_t> row_of(const LoopStep& step, const Bounds& bounds) {
  const auto bits = [](float x) { return std::bit_cast<int32_t>(x); };
  const std::vector<Combination>& all = step.program->combinations();
  std::vector<int32_t> row{step.model_step,    bits(step.input_scale),  bits(step.guidance_scale),
                           bits(step.rescale), bits(step.kept_picture), bits(step.kept_noise)};
  for (float scale : step.added) row.push_back(bits(scale));
  row.push_back(static_cast<int32_t>(all.size()));
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
      asked_(call),
      call_(call),
      state_(device.allocate(sizeof(LoopState))),
      fetched_latents_(device.allocate(latent_bytes(), Memory::host)),
      fetched_state_(device.allocate(sizeof(LoopState), Memory::host)) {
  call_.state = static_cast<LoopState*>(state_.get());
  if (call.beside_channels > 0) beside_ = device.allocate(static_cast<size_t>(call.images * call.beside_channels * call.pixels) * sizeof(float));
  call_.beside = static_cast<const float*>(beside_.get());
  for (const LoopModel& model : call.models) {
    for (auto& given = given_.emplace_back(); const LoopModel::Given& g : model.given) given.push_back(device.allocate(g.bytes));
    if (!model.kept_output) continue;
    negative_ = device.allocate(model.kept_bytes);
    call_.negative = negative_.get();
  }
  if (!call.ranks) return;
  const size_t bytes = static_cast<size_t>(call.values()) * dtype_size(call.output_dtype);
  exchanged_ = device.allocate(bytes * static_cast<size_t>(call.ranks->size()));
  exchange_ = call.ranks->all_gather(call.output, exchanged_.get(), bytes);
  call_.negative = exchanged_.get();
  call_.output = static_cast<const char*>(exchanged_.get()) + bytes;
}

std::unique_ptr<StepLoop> StepLoop::make(Device& device, const LoopCall& call) {
  std::unique_ptr<StepLoop> loop(new StepLoop(device, call));
  loop->kernels_ = device.loop_kernels(loop->call_);
  return loop->kernels_.finish ? std::move(loop) : nullptr;
}

void StepLoop::take(Room& room, size_t bytes, Stream& stream, RequestCounters& counters) {
  if (room.bytes >= bytes) return;
  stream.wait(counters);  // an earlier request's steps, if it was stopped
  room = {};
  room = {device_.allocate(bytes), bytes};
  ++counters.allocations;
}

const float* StepLoop::put_kept(Stream& stream, const LoopStart& start, RequestCounters& counters) {
  if (!start.picture.defined()) return nullptr;
  take(kept_, start.picture.bytes() + start.noise.bytes() + start.mask.bytes(), stream, counters);
  auto* to = static_cast<char*>(kept_.memory.get());
  for (const Tensor* t : {&start.picture, &start.noise, &start.mask}) {
    stream.copy_in(to, t->data(), t->bytes());
    to += t->bytes();
  }
  return static_cast<const float*>(kept_.memory.get());
}

void StepLoop::begin(Stream& stream, std::span<const LoopStep> steps, const LoopStart& start, RequestCounters& counters) {
  std::vector<std::vector<int32_t>> rows;
  size_t words = 0;
  left_out_.clear();
  next_ = 0;
  for (const LoopStep& step : steps) {
    words = std::max(words, rows.emplace_back(row_of(step, start.bounds)).size());
    left_out_.push_back(step.left_out);
  }
  std::vector<int32_t> table;
  for (std::vector<int32_t>& row : rows) {
    row.resize(words);
    table.insert(table.end(), row.begin(), row.end());
  }
  take(table_, table.size() * sizeof(int32_t), stream, counters);
  take(slots_, static_cast<size_t>(slots_of(steps)) * latent_bytes(), stream, counters);
  const LoopState state{.table = static_cast<const int32_t*>(table_.memory.get()),
                        .slots = static_cast<float*>(slots_.memory.get()),
                        .kept = put_kept(stream, start, counters),
                        .row_words = static_cast<int32_t>(words),
                        .row = 0,
                        .bad_row = -1,
                        .unused = 0};
  stream.copy_in(table_.memory.get(), table.data(), table.size() * sizeof(int32_t));
  stream.copy_in(state_.get(), &state, sizeof state);
  stream.copy_in(slot(kSample), start.latents.data(), start.latents.bytes());
  if (beside_) stream.copy_in(beside_.get(), start.beside.data(), start.beside.bytes());
  for (size_t m = 0; m < given_.size(); ++m)
    for (size_t k = 0; k < given_[m].size(); ++k) stream.copy_in(given_[m][k].get(), start.given[m][k].data(), call_.models[m].given[k].bytes);
}

uint32_t StepLoop::next(Stream& stream, const Tensor& noise) {
  if (noise.defined()) stream.copy_in(slot(kNoise), noise.data(), noise.bytes());
  return left_out_[next_++];
}

void StepLoop::put_before(Stream& stream, size_t model) {
  const std::vector<LoopModel::Given>& given = call_.models[model].given;
  for (size_t k = 0; k < given.size(); ++k) stream.copy(given[k].to, given_[model][k].get(), given[k].bytes);
}

void StepLoop::put_feed(Stream& stream, size_t model) {
  if (kernels_.add && model + 1 == call_.models.size()) stream.launch(*kernels_.add);
  stream.launch(*kernels_.feeds[model]);
}

void StepLoop::put_behind(Stream& stream, size_t model) {
  if (const LoopModel& m = call_.models[model]; m.kept_output) stream.copy(negative_.get(), m.kept_output, m.kept_bytes);
  if (exchange_ && model + 1 == call_.models.size()) stream.launch(*exchange_);
}

void StepLoop::fetch(Stream& stream) {
  stream.copy_out(fetched_latents_.get(), slot(kSample), latent_bytes());
  stream.copy_out(fetched_state_.get(), state_.get(), sizeof(LoopState));
}

}  // namespace vivace
