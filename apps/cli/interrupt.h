// Ctrl-C. A run that has written nothing yet has nothing to clean up, so the signal ends the process at once: within a step, a weight file's
// preparation or a decode alike. While an Uninterrupted lives, the signal is remembered instead, and the code at work looks at interrupted().
#pragma once

namespace vivace::cli {

// SIGINT and SIGTERM from now on; exit codes 130 and 143.
void handle_interrupts();
// A signal has come while an Uninterrupted lived.
bool interrupted();

// Around whatever must not be cut short: a file being written.
class Uninterrupted {
 public:
  Uninterrupted();
  ~Uninterrupted();
  Uninterrupted(const Uninterrupted&) = delete;
};

}  // namespace vivace::cli
