#include "tune/measured.h"

#include <algorithm>
#include <vector>

namespace vivace::cli {
namespace {

// A setting must save this share of the time, however quiet the machine: less would spend drift on nothing.
constexpr double kLeastGain = 0.003;
// Three runs of each: that all of one side are faster than all of the other by chance happens once in twenty times.
constexpr int kTurns = 3, kTurnsOfTheSlower = 2;

}  // namespace

bool Measured::counts() const { return gain() > std::max(noise, kLeastGain); }

Measured measure_in_turns(const std::function<double(bool setting)>& run) {
  std::vector<double> base, setting;
  Measured m;
  for (int turn = 0; turn < kTurns; ++turn) {
    base.push_back(run(false));
    setting.push_back(run(true));
    const auto [base_least, base_most] = std::ranges::minmax(base);
    const auto [least, most] = std::ranges::minmax(setting);
    m = {.seconds = least, .base_seconds = base_least, .noise = std::max(base_most / base_least, most / least) - 1, .drift = {}};
    if (turn + 1 >= kTurnsOfTheSlower && m.gain() <= 0) break;
  }
  return m;
}

}  // namespace vivace::cli
