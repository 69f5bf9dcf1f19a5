// Progress of the denoising loop: a bar on a terminal, plain lines elsewhere. On standard error, so that figures on standard output stay clean.
#pragma once

#include <string>

namespace vivace::cli {

class Progress {
 public:
  // `shown` false: nothing is printed.
  explicit Progress(bool shown);
  ~Progress() { end(); }
  // A step of `steps` is done and took `seconds`.
  void step(int done, int steps, double seconds);
  // The loop is over; the next line is somebody else's.
  void end();

 private:
  bool shown_, terminal_, open_ = false;
  double seconds_ = 0;
};

}  // namespace vivace::cli
