// Progress of the denoising loop: a bar on a terminal, plain lines elsewhere. On standard error, so that figures on standard output stay clean.
#pragma once

#include <string>

#include "vivace/compile.h"

namespace vivace::cli {

class Progress {
 public:
  // `shown` false: nothing is printed. `noun`: what is counted.
  explicit Progress(bool shown, std::string noun = "step");
  ~Progress() { end(); }
  // A step of `steps` is done and took `seconds`. Where fewer are done than before, as of a second video, it counts anew.
  void step(int done, int steps, double seconds);
  // The loop is over; the next line is somebody else's.
  void end();

 private:
  std::string noun_;
  bool shown_, terminal_, open_ = false;
  int done_ = 0;
  double seconds_ = 0;
};

// A bar for max-autotune's search, on a terminal and unless --quiet. For CompileOptions::on_autotune.
void show_autotuning(const AutotuneProgress& progress);

}  // namespace vivace::cli
