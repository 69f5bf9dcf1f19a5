// Ctrl-C. A run that has written nothing yet has nothing to clean up, so the signal ends the process at once: within a step, a weight file's
// preparation or a decode alike. While an Uninterrupted lives, the signal is remembered instead: calls of a pipeline end by interruption(), and other
// code at work looks at interrupted(). A second signal ends the process at once.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

namespace vivace::cli {

// SIGINT and SIGTERM from now on; exit codes 130 and 143.
void handle_interrupts();
// A signal has come while an Uninterrupted lived.
bool interrupted();
// 128 and the signal that has come; that of SIGINT where none has.
int interrupted_code();
// Asked to stop when a signal comes while an Uninterrupted lives: for CallOptions::stop.
std::stop_token interruption();

// Around whatever must not be cut short: a file being written.
class Uninterrupted {
 public:
  Uninterrupted();
  ~Uninterrupted();
  Uninterrupted(const Uninterrupted&) = delete;
};

// Runs `write`, which fills `folder` while an Uninterrupted lives: 0. Where it fails, a folder that was not there before is gone again. One that was
// holds old and new files where Interrupted ends it: that is said, and the exit code returned.
int write_folder(const std::string& folder, const std::function<void()>& write);

}  // namespace vivace::cli
