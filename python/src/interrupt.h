// Ctrl-C while the library works and Python sleeps.
#pragma once

#include <stop_token>
#include <thread>

namespace vivace::python {

// While it lives, Ctrl-C asks the token to stop, where it would raise KeyboardInterrupt: on the main thread, under Python's own handler. To be made
// and destroyed with the GIL.
class StopAtInterrupt {
 public:
  StopAtInterrupt();
  ~StopAtInterrupt();
  StopAtInterrupt(const StopAtInterrupt&) = delete;
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  bool installed_ = false;
  std::jthread watcher_;
};

}  // namespace vivace::python
