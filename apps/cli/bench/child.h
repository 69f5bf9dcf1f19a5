// This program once more, as a process of its own: the only honest way to a cold start and to a peak of memory.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace vivace::cli {

class Child {
 public:
  // Starts it with these arguments. It dies with its parent.
  explicit Child(const std::vector<std::string>& arguments);
  // Ends it, if it is still there.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line of its standard output. Throws UserError with the child's own message when it ended instead, Interrupted when it was.
  std::string line();
  // The next bytes of its standard output.
  void read(std::span<float> values);
  // Waits for it to end as it should. Returns the lines of its standard error, which are warnings.
  std::vector<std::string> finish();

 private:
  [[noreturn]] void fail();
  void check(int status);
  std::vector<std::string> errors();
  int wait();

  pid_t pid_ = -1;
  std::FILE* output_ = nullptr;
  std::FILE* errors_ = nullptr;
};

}  // namespace vivace::cli
