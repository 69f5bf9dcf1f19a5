#include "runtime/plan_memory.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace vivace {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int32_t kForever = std::numeric_limits<int32_t>::max();

// A buffer is one value and all that lies inside it. Times: setup steps first, then the steps of the loop.
struct Buffer {
  int64_t bytes = 0, offset = -1;
  int32_t first = kForever, last = -1;
};

class MemoryPlanner {
 public:
  MemoryPlanner(Plan& plan, const Device& device) : plan_(plan), device_(device), buffers_(plan.values.size()) {}

  void run() {
    plan_.arena_bytes = plan_.host_arena_bytes = 0;
    for (PlanValue& value : plan_.values)
      if (std::exchange(value.in_place, false)) value.inside = -1;
    measure_lifetimes();
    share_in_place();
    share_states();
    collect();
    place(Memory::device, plan_.arena_bytes);
    place(Memory::host, plan_.host_arena_bytes);
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      PlanValue& value = plan_.values[v];
      if (value.where != PlanValue::Where::arena) continue;
      auto at = static_cast<int32_t>(v);
      for (value.offset = 0; plan_.values[static_cast<size_t>(at)].inside >= 0; at = plan_.values[static_cast<size_t>(at)].inside)
        value.offset += plan_.values[static_cast<size_t>(at)].shift;
      value.offset += buffers_[static_cast<size_t>(at)].offset;
    }
  }

 private:
  int32_t root(int32_t v) const {
    while (plan_.values[static_cast<size_t>(v)].inside >= 0) v = plan_.values[static_cast<size_t>(v)].inside;
    return v;
  }
  bool in_arena(int32_t v) const { return v >= 0 && plan_.values[static_cast<size_t>(v)].where == PlanValue::Where::arena; }

  void touch(int32_t v, int32_t time) {
    auto& life = lives_[static_cast<size_t>(v)];
    life.first = std::min(life.first, time);
    life.last = std::max(life.last, time);
  }

  void measure_lifetimes() {
    lives_.resize(plan_.values.size());
    const auto loop_begin = static_cast<int32_t>(plan_.setup.size());
    int32_t time = 0;
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program) {
        for (int32_t in : step.in)
          if (in_arena(in)) {
            touch(in, time);
            // What setup leaves for the loop is read again at every step, so it outlives the loop.
            if (time >= loop_begin && plan_.values[static_cast<size_t>(in)].phase == Phase::setup) touch(in, kForever);
          }
        if (in_arena(step.out)) touch(step.out, time);
        ++time;
      }
    // Inputs are written by the caller before the run, outputs read after it.
    for (const PlanPort& port : plan_.inputs) {
      touch(port.value, -1);
      touch(port.value, kForever);
    }
    for (const PlanPort& port : plan_.outputs)
      if (in_arena(port.value)) touch(port.value, kForever);
    // A view keeps what it looks at.
    for (size_t v = plan_.values.size(); v-- > 0;)
      if (plan_.values[v].inside >= 0) lend(static_cast<int32_t>(v), plan_.values[v].inside);
  }

  void lend(int32_t from, int32_t to) {
    const auto& life = lives_[static_cast<size_t>(from)];
    if (life.last < 0) return;
    auto& other = lives_[static_cast<size_t>(to)];
    other.first = std::min(other.first, life.first);
    other.last = std::max(other.last, life.last);
  }

  // A kernel that can write over its first input does so when nobody reads that input later.
  void share_in_place() {
    int32_t time = 0;
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program) {
        const int32_t now = time++;
        const KernelEntry* entry = step.copy ? nullptr : device_.find(step.kernel);
        if (!entry || !entry->in_place || step.in.empty() || !in_arena(step.in[0]) || !in_arena(step.out) ||
            plan_.values[static_cast<size_t>(step.out)].memory == Memory::host)
          continue;
        const int32_t source = root(step.in[0]);
        const PlanValue &from = plan_.values[static_cast<size_t>(step.in[0])], &to = plan_.values[static_cast<size_t>(step.out)];
        const bool read_elsewhere = std::count(step.in.begin() + 1, step.in.end(), step.in[0]) > 0 ||
                                    std::any_of(step.in.begin() + 1, step.in.end(), [&](int32_t in) { return in_arena(in) && root(in) == source; });
        if (!(from.type == to.type) || from.pitch || to.inside >= 0 || lives_[static_cast<size_t>(source)].last != now || read_elsewhere) continue;
        plan_.values[static_cast<size_t>(step.out)].inside = step.in[0];
        plan_.values[static_cast<size_t>(step.out)].in_place = true;
        lend(step.out, source);
      }
  }

  // What a state becomes is written over it where nobody reads the state any more: a cache of frames is there once, and nothing is carried over.
  void share_states() {
    for (const PlanPort& port : plan_.inputs) {
      if (port.state.empty()) continue;
      const int32_t next = std::ranges::find(plan_.outputs, port.state, &PlanPort::name)->value;
      PlanValue& to = plan_.values[static_cast<size_t>(next)];
      const PlanValue& from = plan_.values[static_cast<size_t>(port.value)];
      if (next == port.value || !in_arena(next) || to.inside >= 0 || to.memory != from.memory) continue;
      if (last_read(port.value) >= lives_[static_cast<size_t>(next)].first) continue;
      to.inside = port.value;
      to.in_place = true;
    }
  }

  // The last step that reads a value or what lies inside it.
  int32_t last_read(int32_t value) const {
    int32_t time = 0, last = -1;
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program) {
        if (std::ranges::any_of(step.in, [&](int32_t in) { return in_arena(in) && root(in) == value; })) last = time;
        ++time;
      }
    return last;
  }

  void collect() {
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      if (plan_.values[v].where != PlanValue::Where::arena || lives_[v].last < 0) continue;
      Buffer& buffer = buffers_[static_cast<size_t>(root(static_cast<int32_t>(v)))];
      buffer.bytes = std::max(buffer.bytes, plan_.values[v].type.bytes());
      buffer.first = std::min(buffer.first, lives_[v].first);
      buffer.last = std::max(buffer.last, lives_[v].last);
    }
  }

  // Largest first, each at the lowest place that is free for as long as it lives.
  void place(Memory memory, int64_t& arena_bytes) {
    std::vector<int32_t> order;
    for (size_t v = 0; v < buffers_.size(); ++v)
      if (buffers_[v].last >= 0 && plan_.values[v].memory == memory) order.push_back(static_cast<int32_t>(v));
    std::ranges::stable_sort(order,
                             [&](int32_t a, int32_t b) { return buffers_[static_cast<size_t>(a)].bytes > buffers_[static_cast<size_t>(b)].bytes; });
    std::vector<Buffer*> placed;  // by offset
    for (int32_t v : order) {
      Buffer& buffer = buffers_[static_cast<size_t>(v)];
      const int64_t size = (std::max<int64_t>(buffer.bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
      int64_t offset = 0;
      for (const Buffer* other : placed) {
        const bool together = other->first <= buffer.last && buffer.first <= other->last;
        if (!together) continue;
        if (other->offset >= offset + size) break;
        offset = std::max(offset, other->offset + (other->bytes + kAlignment - 1) / kAlignment * kAlignment);
      }
      buffer.offset = offset;
      arena_bytes = std::max(arena_bytes, offset + size);
      placed.insert(std::ranges::upper_bound(placed, offset, {}, &Buffer::offset), &buffer);
    }
  }

  Plan& plan_;
  const Device& device_;
  std::vector<Buffer> lives_;  // first and last only
  std::vector<Buffer> buffers_;
};

}  // namespace

void plan_memory(Plan& plan, const Device& device) { MemoryPlanner(plan, device).run(); }

}  // namespace vivace
