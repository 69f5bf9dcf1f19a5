// The meeting of processes that work together: each comes to rank 0, which tells all of them the same. They stay connected, so that one whose process
// ends before its work is done is missed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace vivace {

class Rendezvous {
 public:
  struct Options {
    std::string address = "127.0.0.1";  // of rank 0's machine
    int port = 29500;
    int rank = 0, size = 1;
    std::string task;     // the same for all: what differs is refused
    std::string message;  // rank 0's, for all
    std::chrono::milliseconds patience{std::chrono::minutes(5)};
  };
  // Returns when all have come. Throws UserError for one that does not come in time, a rank that comes twice (a second rank 0 too), or one that was
  // started for another number of ranks or another task; those that came are told the same.
  explicit Rendezvous(const Options& options);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;

  const std::string& message() const { return message_; }
  // Throws UserError where another rank's process has ended before it left. Waits for nothing.
  void check();
  // This one's work is done, whatever the others have left to do. Rank 0, who alone knows all others, waits for them to leave too, and ends those
  // that are left where one ends before its work is done.
  void leave() noexcept;

 private:
  class Socket {
   public:
    explicit Socket(int handle = -1) : handle_(handle) {}
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();
    int handle() const { return handle_; }

   private:
    int handle_;
  };
  struct Other {
    int rank;
    Socket socket;
    bool left = false;
  };
  using Clock = std::chrono::steady_clock;

  void receive_others(const Options& options, Clock::time_point end);
  // Of one that came to rank 0: its greeting, or "" for what is none.
  std::string take_in(const Options& options, Socket socket, Clock::time_point end);
  void go_to_first(const Options& options, Clock::time_point end);
  void wait_for_others() noexcept;

  int rank_;
  std::string message_;
  std::vector<Other> others_;  // of rank 0 all, of the others rank 0
};

}  // namespace vivace
