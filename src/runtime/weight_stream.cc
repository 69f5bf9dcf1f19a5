#include "runtime/weight_stream.h"

#include <algorithm>
#include <utility>

#include "runtime/memory_need.h"

namespace vivace {
namespace {

constexpr size_t kAlignment = 256;  // as the device's own allocations have it, so that kernels do there what they do elsewhere

class StreamPlanner {
 public:
  explicit StreamPlanner(const Program& program) : plan_(*program.plan), bytes_(constant_bytes(program)), waits_(bytes_.size()) {}

  WeightStream run(size_t resident_bytes) {
    choose(resident_bytes);
    if (stream_.waiting_bytes == 0) return {};
    for (Phase phase : {Phase::setup, Phase::step})
      for (const PlanStep& step : plan_.program(phase)) {
        Segment alone;
        add(alone, step);
        stream_.lane_bytes = std::max(stream_.lane_bytes, alone.bytes);
      }
    stream_.setup = segments(plan_.setup);
    stream_.step = segments(plan_.step);
    return std::move(stream_);
  }

 private:
  using Segment = WeightStream::Segment;

  void choose(size_t resident_bytes) {
    std::vector<uint8_t> by_step(bytes_.size()), is_output(bytes_.size());
    for (const PlanStep& step : plan_.step)
      for (int32_t in : step.in)
        if (in >= 0) by_step[static_cast<size_t>(in)] = 1;
    for (const PlanPort& port : plan_.outputs) is_output[static_cast<size_t>(port.value)] = 1;  // read behind the last step
    stream_.on_host = values_to_keep(plan_);
    std::vector<int32_t> weights;
    for (size_t v = 0; v < bytes_.size(); ++v) {
      if (plan_.values[v].memory == Memory::host) stream_.on_host[v] = 0;  // of kernels that run there
      if (stream_.on_host[v]) weights.push_back(static_cast<int32_t>(v));
    }
    std::ranges::stable_sort(weights, {}, [&](int32_t v) { return std::pair(!by_step[static_cast<size_t>(v)], bytes_[static_cast<size_t>(v)]); });
    for (int32_t value : weights) {
      const auto v = static_cast<size_t>(value);
      waits_[v] = !is_output[v] && stream_.resident_bytes + bytes_[v] > resident_bytes;
      (waits_[v] ? stream_.waiting_bytes : stream_.resident_bytes) += bytes_[v];
      if (!waits_[v]) stream_.resident.push_back({value, bytes_[v], 0});
    }
  }

  // What the step reads beside what is there.
  void add(Segment& segment, const PlanStep& step) const {
    for (int32_t in : step.in) {
      if (in < 0 || !waits_[static_cast<size_t>(in)] || std::ranges::count(segment.pieces, in, &WeightStream::Piece::value)) continue;
      const size_t bytes = bytes_[static_cast<size_t>(in)];
      segment.pieces.push_back({in, bytes, segment.bytes});
      segment.bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    }
  }

  std::vector<Segment> segments(const std::vector<PlanStep>& steps) const {
    std::vector<Segment> all;
    for (size_t i = 0; i < steps.size(); ++i) {
      Segment with = all.empty() ? Segment() : all.back();
      add(with, steps[i]);
      if (with.pieces.empty()) continue;
      if (all.empty() || with.bytes > stream_.lane_bytes) {
        with = {.first_step = i};
        add(with, steps[i]);
        all.emplace_back();
      }
      all.back() = std::move(with);
    }
    return all;
  }

  const Plan& plan_;
  std::vector<size_t> bytes_;  // by value
  std::vector<uint8_t> waits_;
  WeightStream stream_;
};

}  // namespace

WeightStream stream_weights(const Program& program, size_t resident_bytes) { return StreamPlanner(program).run(resident_bytes); }

}  // namespace vivace
