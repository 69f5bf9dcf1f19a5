#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace vivace::cli {
namespace {

std::string clock_text(double seconds) {
  char text[32];
  const int s = static_cast<int>(seconds + 0.5);
  std::snprintf(text, sizeof text, s >= 3600 ? "%d:%02d:%02d" : "%.0d%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return text;
}

}  // namespace

Progress::Progress(int steps, bool shown) : steps_(steps), shown_(shown), terminal_(isatty(STDERR_FILENO)), begin_(std::chrono::steady_clock::now()) {}

void Progress::step() {
  ++done_;
  if (!shown_) return;
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(), each = elapsed / done_;
  if (terminal_) {
    constexpr int kWidth = 30;
    const int filled = kWidth * std::min(done_, steps_) / std::max(1, steps_);
    std::fprintf(stderr, "\r%3d%% |%s%s| %d/%d  %.3g s/step, %s left ", 100 * done_ / std::max(1, steps_), std::string(static_cast<size_t>(filled), '#').c_str(),
                 std::string(static_cast<size_t>(kWidth - filled), ' ').c_str(), done_, steps_, each, clock_text(each * (steps_ - done_)).c_str());
    std::fflush(stderr);
  } else if (done_ == 1 || done_ == steps_ || done_ % std::max(1, steps_ / 5) == 0) {
    std::fprintf(stderr, "step %d/%d, %.3g s a step\n", done_, steps_, each);
  }
}

Progress::~Progress() {
  if (shown_ && terminal_ && done_ > 0) std::fprintf(stderr, "\n");
}

}  // namespace vivace::cli
