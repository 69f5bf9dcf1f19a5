#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace vivace {
namespace {

namespace fs = std::filesystem;

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) ADD_FAILURE() << "no pipe";
    read = ends[0];
    write = ends[1];
  }
};

[[noreturn]] void become_program(const std::vector<std::string>& arguments, const RunOptions& o, const Pipe& in, const Pipe& out, const Pipe& err) {
  ::dup2(in.read, STDIN_FILENO);
  ::dup2(err.write, STDERR_FILENO);
  if (!o.stdout_path)
    ::dup2(out.write, STDOUT_FILENO);
  else if (o.stdout_path->empty())
    ::close(STDOUT_FILENO);
  else
    ::dup2(::open(o.stdout_path->c_str(), O_WRONLY), STDOUT_FILENO);
  if (o.file_size_limit) {
    const rlimit limit{static_cast<rlim_t>(*o.file_size_limit), static_cast<rlim_t>(*o.file_size_limit)};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!o.library_path.empty()) ::setenv("LD_LIBRARY_PATH", o.library_path.c_str(), 1);
  for (const auto& [name, value] : o.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>(VIVACE_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(VIVACE_PROGRAM, argv.data());
  ::_exit(127);
}

}  // namespace

Finished vivace(const std::vector<std::string>& arguments, const RunOptions& o) {
  const Pipe in, out, err;
  const pid_t child = ::fork();
  if (child == 0) become_program(arguments, o, in, out, err);
  for (int fd : {in.read, out.write, err.write}) ::close(fd);
  if (::write(in.write, o.input.data(), o.input.size()) != static_cast<ssize_t>(o.input.size())) ADD_FAILURE() << "the input was not taken";
  ::close(in.write);
  Finished result;
  bool interrupted = o.interrupt_at.empty();
  pollfd ends[] = {{out.read, POLLIN, 0}, {err.read, POLLIN, 0}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (::poll(ends, 2, -1) < 0) break;
    for (auto* end : {&ends[0], &ends[1]}) {
      if (end->fd < 0 || end->revents == 0) continue;
      char buffer[4096];
      const ssize_t got = ::read(end->fd, buffer, sizeof buffer);
      if (got <= 0) {
        ::close(end->fd);
        end->fd = -1;
        continue;
      }
      (end == &ends[0] ? result.out : result.err).append(buffer, static_cast<size_t>(got));
    }
    if (!interrupted && result.err.find(o.interrupt_at) != std::string::npos) {
      ::kill(child, SIGINT);
      interrupted = true;
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

const fs::path& tiny_model() {
  static const TempFolder folder;
  static const fs::path model = [] {
    const Finished made = vivace(
        {"make-random", VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels", (folder / "tiny").string(), "--quiet", "--threads", "1"});
    if (made.code != 0) ADD_FAILURE() << made.err;
    return folder / "tiny";
  }();
  return model;
}

fs::path copy_tiny(const TempFolder& folder) {
  fs::copy(tiny_model(), folder / "model", fs::copy_options::recursive);
  return folder / "model";
}

std::vector<std::string> generate(const std::string& output, std::vector<std::string> more) {
  std::vector<std::string> arguments{"generate",  "a red apple", "--model", tiny_model(), "--num-inference-steps", "3", "--seed", "7",
                                     "--threads", "1",           "-o",      output};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void expect_refused(const Finished& finished, int code, const std::vector<std::string>& names) {
  EXPECT_EQ(finished.code, code) << finished.err;
  EXPECT_TRUE(finished.err.starts_with("vivace: ")) << finished.err;
  EXPECT_EQ(std::ranges::count(finished.err, '\n'), 1) << finished.err;
  for (const std::string& name : names) EXPECT_NE(finished.err.find(name), std::string::npos) << "does not name " << name << ": " << finished.err;
}

void expect_no_picture(const fs::path& model, int code, const std::vector<std::string>& names, std::vector<std::string> more) {
  const TempFolder folder;
  std::vector<std::string> arguments{"generate", "a dog", "--model", model.string(), "-o", (folder / "x.png").string(), "--quiet", "--threads", "1"};
  if (std::ranges::count(more, "--num-inference-steps") == 0) arguments.insert(arguments.end(), {"--num-inference-steps", "2"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  expect_refused(vivace(arguments), code, names);
  EXPECT_EQ(folder.files(), 0u);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

}  // namespace vivace
