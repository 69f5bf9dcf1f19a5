// SessionPool: the sessions of a component. A request leases one; those that nobody has are kept for the next request, within a bound.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <span>

#include "runtime/memory_need.h"
#include "runtime/session.h"

namespace vivace {

class SessionPool;

// A session of one request, given back with its end. The pool outlives it.
class SessionLease {
 public:
  SessionLease(SessionLease&& other) noexcept = default;
  SessionLease& operator=(SessionLease&&) = delete;
  ~SessionLease();

  Session& operator*() const { return *session_; }
  Session* operator->() const { return session_.get(); }

 private:
  friend class SessionPool;
  SessionLease(SessionPool& pool, std::unique_ptr<Session> session) : pool_(&pool), session_(std::move(session)) {}

  SessionPool* pool_;
  std::unique_ptr<Session> session_;
};

struct SessionLimits {
  // Of the memory of sessions that nobody has: the least recently used goes. The last one that was used stays, whatever it takes.
  size_t idle_bytes = size_t{256} << 20;
  // Of the memory of those that are lent: further requests wait, though nobody waits where none is lent.
  size_t lent_bytes = std::numeric_limits<size_t>::max();
};

// What sessions of the same weights take that a request leases one after another: those that are done with are kept within the bound.
MemoryNeed one_after_another(std::span<const MemoryNeed> sessions, const SessionLimits& limits);

class SessionPool {
 public:
  using Make = std::function<std::unique_ptr<Session>()>;

  explicit SessionPool(const SessionLimits& limits = {}) : limits_(limits) {}

  // A session of that plan: an idle one, or what `make` makes. Who asks first is served first. A thread that holds a lease must not ask for a second
  // one of the same pool: it could wait for itself. Throws Interrupted when `request` stops while waiting, and what `make` throws.
  // With so much of the weights on the device; idle ones of the plan with another amount go.
  SessionLease lease(const std::shared_ptr<const Plan>& plan, Request& request, const Make& make, size_t resident_bytes = kAllResident);

  // From now on; nobody asks meanwhile.
  void limit_lent(size_t bytes) { limits_.lent_bytes = bytes; }
  // Those that are idle go.
  void clear();
  const SessionLimits& limits() const { return limits_; }
  // Of arenas and workspaces, idle and lent.
  size_t bytes() const;

 private:
  friend class SessionLease;
  void give_back(std::unique_ptr<Session> session) noexcept;
  std::unique_ptr<Session> take_idle(const Plan& plan, size_t resident_bytes);
  // Drops idle sessions until they and `coming` bytes are within the bound, but for `kept` of them.
  void drop_idle(size_t coming, size_t kept);

  SessionLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<const void*> queue_;             // of those who ask
  std::list<std::unique_ptr<Session>> idle_;  // the last used one first
  size_t idle_bytes_ = 0, lent_bytes_ = 0;
  int lent_ = 0;
};

}  // namespace vivace
