#include "runtime/session_pool.h"

#include <algorithm>

#include "vivace/error.h"

namespace vivace {
namespace {

size_t memory_of(const Session& session) { return session.arena_bytes() + session.workspace_bytes(); }

}  // namespace

MemoryNeed one_after_another(std::span<const MemoryNeed> sessions, const SessionLimits& limits) {
  MemoryNeed all;
  int64_t together = 0;
  for (const MemoryNeed& one : sessions) {
    all.weights = std::max(all.weights, one.weights);
    all.waiting = std::max(all.waiting, one.waiting);
    all.activations = std::max(all.activations, one.activations);
    all.preparing = std::max(all.preparing, one.preparing);
    all.beside = std::max(all.beside, one.beside);
    together += one.activations;
  }
  all.activations = std::max(all.activations, std::min(together, static_cast<int64_t>(limits.idle_bytes)));
  return all;
}

SessionLease::~SessionLease() {
  if (session_) pool_->give_back(std::move(session_));
}

SessionLease SessionPool::lease(const std::shared_ptr<const Plan>& plan, Request& request, const Make& make, size_t resident_bytes) {
  size_t bytes = static_cast<size_t>(plan->arena_bytes);
  std::unique_ptr<Session> session;
  {
    std::unique_lock lock(mutex_);
    const void* const self = &bytes;
    queue_.push_back(self);
    const bool served =
        changed_.wait(lock, request.stop, [&] { return queue_.front() == self && (lent_ == 0 || lent_bytes_ + bytes <= limits_.lent_bytes); });
    std::erase(queue_, self);
    if (!served) {
      lock.unlock();
      changed_.notify_all();
      throw Interrupted("stopped");
    }
    session = take_idle(*plan, resident_bytes);
    if (session)
      bytes = memory_of(*session);
    else
      drop_idle(bytes, 0);
    lent_ += 1;
    lent_bytes_ += bytes;
  }
  changed_.notify_all();
  if (session) {
    session->forget_quantized();
    return {*this, std::move(session)};
  }
  const auto settle = [&](size_t taken, int lent) {
    {
      const std::lock_guard lock(mutex_);
      lent_bytes_ = lent_bytes_ - bytes + taken;
      lent_ += lent;
      drop_idle(taken, 0);  // workspaces are known now
    }
    changed_.notify_all();
  };
  try {
    session = make();
  } catch (...) {
    settle(0, -1);
    throw;
  }
  settle(memory_of(*session), 0);
  return {*this, std::move(session)};
}

void SessionPool::give_back(std::unique_ptr<Session> session) noexcept {
  {
    const std::lock_guard lock(mutex_);
    const size_t bytes = memory_of(*session);
    lent_ -= 1;
    lent_bytes_ -= bytes;
    idle_bytes_ += bytes;
    idle_.push_front(std::move(session));
    drop_idle(0, 1);
  }
  changed_.notify_all();
}

std::unique_ptr<Session> SessionPool::take_idle(const Plan& plan, size_t resident_bytes) {
  std::erase_if(idle_, [&](const auto& session) {
    const bool is_other = &session->plan() == &plan && session->resident_bytes() != resident_bytes;
    if (is_other) idle_bytes_ -= memory_of(*session);
    return is_other;
  });
  const auto found = std::ranges::find_if(idle_, [&](const auto& session) { return &session->plan() == &plan; });
  if (found == idle_.end()) return nullptr;
  std::unique_ptr<Session> session = std::move(*found);
  idle_.erase(found);
  idle_bytes_ -= memory_of(*session);
  return session;
}

void SessionPool::drop_idle(size_t coming, size_t kept) {
  while (idle_.size() > kept && idle_bytes_ + coming > limits_.idle_bytes) {
    idle_bytes_ -= memory_of(*idle_.back());
    idle_.pop_back();
  }
}

void SessionPool::clear() {
  const std::lock_guard lock(mutex_);
  idle_.clear();
  idle_bytes_ = 0;
}

size_t SessionPool::bytes() const {
  const std::lock_guard lock(mutex_);
  return idle_bytes_ + lent_bytes_;
}

}  // namespace vivace
