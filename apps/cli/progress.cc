#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"

namespace vivace::cli {
namespace {

std::string clock_text(double seconds) {
  char text[32];
  const int s = static_cast<int>(seconds + 0.5);
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%02d:%02d", s / 60, s % 60);
  return text;
}

std::string bar(int done, int total) {
  constexpr int kWidth = 30;
  const int filled = kWidth * std::min(done, total) / total;
  return '|' + std::string(static_cast<size_t>(filled), '#') + std::string(static_cast<size_t>(kWidth - filled), ' ') + '|';
}

// Three figures, and no exponent.
std::string plain_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, seconds < 100 ? "%.3g" : "%.0f", seconds);
  return text;
}

}  // namespace

void show_autotuning(const AutotuneProgress& p) {
  if (!isatty(STDERR_FILENO) || log_level() < LogLevel::warning || p.total < 1) return;
  std::fprintf(stderr, "\rautotuning %s %d/%d calls, %.0f of at most %.0f s ", bar(p.done, p.total).c_str(), p.done, p.total, p.seconds, p.budget);
  if (p.done == p.total || p.seconds >= p.budget) std::fprintf(stderr, "\n");
  std::fflush(stderr);
}

Progress::Progress(bool shown, std::string noun) : noun_(std::move(noun)), shown_(shown), terminal_(isatty(STDERR_FILENO)) {}

void Progress::step(int done, int steps, double seconds) {
  seconds_ = done > done_ ? seconds_ + seconds : seconds;
  done_ = done;
  if (!shown_ || done < 1 || steps < 1) return;
  const double each = seconds_ / done;
  if (terminal_) {
    std::fprintf(stderr, "\r%3d%% %s %d/%d  %s s/%s, %s left ", 100 * done / steps, bar(done, steps).c_str(), done, steps,
                 plain_seconds(each).c_str(), noun_.c_str(), clock_text(each * (steps - done)).c_str());
    std::fflush(stderr);
    open_ = true;
  } else if (done == 1 || done == steps || done % std::max(1, steps / 5) == 0) {
    std::fprintf(stderr, "%s %d/%d, %s s/%s, %s left\n", noun_.c_str(), done, steps, plain_seconds(each).c_str(), noun_.c_str(),
                 clock_text(each * (steps - done)).c_str());
  }
}

void Progress::end() {
  if (open_) std::fprintf(stderr, "\n");
  open_ = false;
}

}  // namespace vivace::cli
