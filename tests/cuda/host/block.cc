#include "block.h"

#include <algorithm>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <span>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host_cuda {
namespace {

namespace context = boost::context;

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif

// Stacks with a guard page, used again and again.
struct Stacks {
  context::stack_context allocate() {
    if (free().empty()) return context::protected_fixedsize_stack(kStack).allocate();
    const context::stack_context stack = free().back();
    free().pop_back();
    return stack;
  }
  void deallocate(context::stack_context& stack) noexcept { free().push_back(stack); }
  static std::vector<context::stack_context>& free() {
    static std::vector<context::stack_context> value;
    return value;
  }
};

struct Abandoned {};  // ends a lane of a block that has failed

struct Copy {
  void* to;
  const void* from;
};

enum class State : uint8_t { ready, at_block, at_warp, done };

struct Lane {
  context::fiber fiber, caller;
  State state = State::ready;
  Place place;
  Collective compute = nullptr;
  const void* in = nullptr;
  void* out = nullptr;
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> closed;
  context::stack_context stack;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

struct Block {
  std::vector<Lane> lanes;
  std::vector<int> waiting;  // lanes of each warp that are at_warp
  Lane* running = nullptr;
  char* shared = nullptr;
  std::string error;
  bool abandoned = false;
  const void* caller_bottom = nullptr;
  size_t caller_size = 0;

  int number(const Lane& lane) const { return static_cast<int>(&lane - lanes.data()); }
  std::string where(const Lane& lane) const {
    return "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + "), lane " +
           std::to_string(number(lane)) +
           (lane.place.line ? std::string(", ") + lane.place.what + " in line " + std::to_string(lane.place.line) : "");
  }
  void note(const Lane& lane, const std::string& what) {
    if (error.empty()) error = where(lane) + ": " + what;
  }
};
Block* block = nullptr;

void leave(Lane& lane, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &lane.fake_stack, block->caller_bottom, block->caller_size);
#endif
}

void entered([[maybe_unused]] Lane& lane) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(lane.fake_stack, &block->caller_bottom, &block->caller_size);
#endif
}

// Back to the block's loop; returns when the lane's turn has come.
void pause(Lane& lane) {
  if (block->abandoned) throw Abandoned{};
  leave(lane, false);
  lane.caller = std::move(lane.caller).resume();
  entered(lane);
  if (block->abandoned) throw Abandoned{};
}

void start(Lane& lane, const std::function<void()>& kernel) {
  Stacks stacks;
  lane.state = State::ready, lane.place = {};
  const context::stack_context stack = lane.stack = stacks.allocate();
  lane.fiber =
      context::fiber(std::allocator_arg, context::preallocated(stack.sp, stack.size, stack), stacks, [&lane, &kernel](context::fiber&& caller) {
        lane.caller = std::move(caller);
        entered(lane);
        try {
          kernel();
          lane.place = {};
          if (!lane.open.empty() || !lane.closed.empty()) block->note(lane, "ends with asynchronous copies that it did not wait for");
        } catch (Abandoned) {
        } catch (const std::exception& e) {
          block->note(lane, e.what());
        }
        lane.state = State::done;
        leave(lane, true);
        return std::move(lane.caller);
      });
}

void resume(Lane& lane) {
  block->running = &lane;
  threadIdx = {static_cast<unsigned>(block->number(lane)), 0, 0};
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, static_cast<const char*>(lane.stack.sp) - lane.stack.size, lane.stack.size);
#endif
  lane.fiber = std::move(lane.fiber).resume();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// The lanes that are not done wait for each other: goes on if all of them are at the same barrier.
void release_block() {
  const Lane* first = nullptr;
  for (const Lane& lane : block->lanes) {
    if (lane.state == State::at_warp) return block->note(lane, "waits for lanes of its warp that have ended or wait elsewhere");
    if (lane.state == State::at_block && !first) first = &lane;
  }
  for (const Lane& lane : block->lanes) {
    if (lane.state == State::done) return block->note(*first, "waits for lane " + std::to_string(block->number(lane)) + ", which has ended");
    if (!(lane.place == first->place)) return block->note(*first, "waits for " + block->where(lane));
  }
  for (Lane& lane : block->lanes) lane.state = State::ready;
}

// The lanes in the order in which they run; with `random` warp by warp, each as far as it comes before the next one moves: no warp may then count on
// another.
void shuffle_lanes(std::vector<unsigned>& order, std::mt19937& random) {
  std::vector<unsigned> warps(order.size() / 32);
  std::iota(warps.begin(), warps.end(), 0u);
  std::ranges::shuffle(warps, random);
  for (size_t w = 0; w < warps.size(); ++w) {
    const std::span<unsigned> lanes = std::span(order).subspan(w * 32, 32);
    std::iota(lanes.begin(), lanes.end(), warps[w] * 32);
    std::ranges::shuffle(lanes, random);
  }
}

void run_until_they_wait(std::span<const unsigned> order) {
  for (bool moved = true; moved && block->error.empty();) {
    moved = false;
    for (unsigned i : order)
      if (Lane& lane = block->lanes[i]; lane.state == State::ready) {
        resume(lane);
        moved = true;
      }
  }
}

void run_block(std::vector<unsigned>& order, std::mt19937* random) {
  const auto done = [](const Lane& lane) { return lane.state == State::done; };
  while (!std::ranges::all_of(block->lanes, done)) {
    if (random) shuffle_lanes(order, *random);
    const size_t together = random ? 32 : order.size();
    for (size_t first = 0; first < order.size(); first += together) run_until_they_wait(std::span(order).subspan(first, together));
    if (!block->error.empty()) break;
    if (!std::ranges::all_of(block->lanes, done)) release_block();
  }
  if (block->error.empty()) return;
  block->abandoned = true;
  for (Lane& lane : block->lanes)
    if (lane.state != State::done) resume(lane);
  throw std::runtime_error(block->error);
}

}  // namespace

void run(const Launch& launch, const std::function<void()>& kernel) {
  if (launch.block == 0 || launch.block % 32 || launch.block > 1024)
    throw std::runtime_error("a block of " + std::to_string(launch.block) + " threads");
  static std::mutex one_at_a_time;  // what the kernels are told lies in variables of all threads
  const std::lock_guard lock(one_at_a_time);
  std::mt19937 random(launch.seed);
  gridDim = launch.grid;
  blockDim = {launch.block, 1, 1};
  std::vector<unsigned> blocks(size_t{launch.grid.x} * launch.grid.y * launch.grid.z), order(launch.block);
  std::iota(blocks.begin(), blocks.end(), 0u);
  std::iota(order.begin(), order.end(), 0u);
  if (launch.seed) std::ranges::shuffle(blocks, random);
  // Exactly as large as it says, so that AddressSanitizer sees what is beyond.
  void* memory = nullptr;
  if (launch.shared && posix_memalign(&memory, 128, launch.shared)) throw std::bad_alloc();
  const std::unique_ptr<char, decltype(&std::free)> shared(static_cast<char*>(memory), &std::free);
  Block running;
  running.lanes = std::vector<Lane>(launch.block);
  running.waiting.resize(launch.block / 32);
  running.shared = shared.get();
  block = &running;
  for (unsigned b : blocks) {
    blockIdx = {b % launch.grid.x, b / launch.grid.x % launch.grid.y, b / launch.grid.x / launch.grid.y};
    if (shared) std::memset(shared.get(), 0xff, launch.shared);
    for (Lane& lane : running.lanes) start(lane, kernel);
    run_block(order, launch.seed ? &random : nullptr);
  }
}

void fail(const std::string& what) { throw std::runtime_error(what); }
char* shared_memory() { return block->shared; }

void meet_block(Place place) {
  Lane& lane = *block->running;
  lane.place = place;
  lane.state = State::at_block;
  pause(lane);
}

void meet_warp(Place place, Collective compute, const void* in, void* out) {
  Lane& lane = *block->running;
  lane.place = place;
  lane.compute = compute;
  lane.in = in;
  lane.out = out;
  const size_t number = static_cast<size_t>(block->number(lane) / 32);
  lane.state = State::at_warp;
  if (++block->waiting[number] < 32) return pause(lane);
  block->waiting[number] = 0;
  const std::span<Lane, 32> warp(&block->lanes[number * 32], 32);
  const void* ins[32];
  void* outs[32];
  for (size_t i = 0; i < 32; ++i) {
    if (warp[i].compute != compute || !(warp[i].place == place)) fail("meets " + block->where(warp[i]));
    ins[i] = warp[i].in;
    outs[i] = warp[i].out;
  }
  compute(ins, outs);
  for (Lane& other : warp) other.state = State::ready;
}

void copy_later(void* to, const void* from) { block->running->open.push_back({to, from}); }
void close_copies() {
  Lane& lane = *block->running;
  lane.closed.push_back(std::exchange(lane.open, {}));
}
void wait_for_copies(size_t left) {
  auto& closed = block->running->closed;
  for (; closed.size() > left; closed.erase(closed.begin()))
    for (const Copy& copy : closed.front()) {
      if (copy.from)
        std::memcpy(copy.to, copy.from, 16);
      else
        std::memset(copy.to, 0, 16);
    }
}

}  // namespace host_cuda
