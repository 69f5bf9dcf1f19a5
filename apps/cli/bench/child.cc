#include "bench/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "arguments.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

[[noreturn]] void become(char* const* argv, int output, int errors) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>("vivace")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  errors_ = std::tmpfile();  // not a pipe, which would have to be emptied
  if (!errors_ || ::pipe2(ends, O_CLOEXEC) != 0) throw UserError(cat("cannot start a process: ", std::strerror(errno)));
  pid_ = ::fork();
  if (pid_ == 0) become(argv.data(), ends[1], ::fileno(errors_));
  ::close(ends[1]);
  output_ = ::fdopen(ends[0], "r");
  if (pid_ < 0) throw UserError(cat("cannot start a process: ", std::strerror(errno)));
}

Child::~Child() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
  if (output_) std::fclose(output_);
  if (errors_) std::fclose(errors_);
}

std::string Child::line() {
  std::string text;
  for (int c = std::fgetc(output_); c != '\n'; c = std::fgetc(output_)) {
    if (c == EOF) fail();
    text += static_cast<char>(c);
  }
  return text;
}

void Child::read(std::span<float> values) {
  if (std::fread(values.data(), sizeof(float), values.size(), output_) != values.size()) fail();
}

std::vector<std::string> Child::finish() {
  if (std::fgetc(output_) != EOF) throw InternalError("a benchmarked process wrote more than was expected");
  check(wait());
  return errors();
}

void Child::fail() {
  check(wait());
  throw InternalError("a benchmarked process ended before it had answered");
}

void Child::check(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGINT) throw Interrupted("interrupted");
  if (WIFSIGNALED(status)) throw UserError(cat("ended by signal ", WTERMSIG(status), WTERMSIG(status) == SIGKILL ? " (out of memory?)" : ""));
  const std::vector<std::string> lines = errors();
  std::string message = lines.empty() ? "" : lines.back();  // what comes before the last line are warnings
  if (message.starts_with("vivace: ")) message = message.substr(8);
  if (message.empty()) message = cat("ended with status ", WEXITSTATUS(status));
  if (WEXITSTATUS(status) == 2) throw UsageError(message);
  throw UserError(message);
}

std::vector<std::string> Child::errors() {
  std::string text;
  std::rewind(errors_);
  for (int c = std::fgetc(errors_); c != EOF; c = std::fgetc(errors_)) text += static_cast<char>(c);
  while (text.ends_with('\n')) text.pop_back();
  return text.empty() ? std::vector<std::string>() : split(text, '\n');
}

int Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

}  // namespace vivace::cli
