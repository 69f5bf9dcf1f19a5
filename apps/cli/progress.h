// Progress of the denoising loop: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>

namespace vivace::cli {

class Progress {
 public:
  // `shown` false: nothing is printed.
  Progress(int steps, bool shown);
  // A step is done.
  void step();
  ~Progress();

 private:
  int steps_, done_ = 0;
  bool shown_, terminal_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace vivace::cli
