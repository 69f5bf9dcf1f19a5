// A lock that is taken in the order of asking, and that a request which is to stop need not wait for.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <stop_token>

namespace vivace {

class Turns {
 public:
  // False, without the turn, when `stop` is asked for first. Not for a thread that has the turn already.
  bool take(const std::stop_token& stop = {});
  void end() noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<const void*> queue_;  // who has the turn, and who waits for it; each by an address of its own
};

// Has the turn while it lives.
class Turn {
 public:
  // Throws Interrupted when `stop` is asked for first.
  explicit Turn(Turns& turns, const std::stop_token& stop = {});
  ~Turn() { turns_.end(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Turns& turns_;
};

}  // namespace vivace
