// Runs the real program, as a shell would.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../temp_folder.h"

namespace vivace {

struct Finished {
  int code = -1;  // exit code; 128 + signal when one ended it
  std::string out, err;
};

struct RunOptions {
  std::string input;                                             // what it reads on standard input
  std::optional<std::string> stdout_path;                        // a file instead of a pipe; "" closes standard output
  std::optional<long> file_size_limit;                           // bytes any file may have (RLIMIT_FSIZE)
  std::string interrupt_at;                                      // SIGINT once standard error holds this text
  std::string library_path;                                      // a folder where it looks for libraries first
  std::vector<std::pair<std::string, std::string>> environment;  // set for it alone
};

// `arguments` behind the program's name.
Finished vivace(const std::vector<std::string>& arguments, const RunOptions& options = {});

// The words of a call that draws "a red apple" of the tiny model in 3 steps from seed 7 on one thread.
std::vector<std::string> generate(const std::string& output, std::vector<std::string> more = {});

// A folder with a tiny SDXL checkpoint of random weights, 32 x 32 pictures; made once a process. Not to be changed: see copy_tiny.
const std::filesystem::path& tiny_model();
// A copy of it in `folder`, to be damaged.
std::filesystem::path copy_tiny(const TempFolder& folder);

// Expects this exit code, and one line of message that begins with "vivace: " and holds every one of `names`.
void expect_refused(const Finished& finished, int code, const std::vector<std::string>& names);

// Generates with --quiet from `model` into a folder of its own, and expects a refusal that leaves no file there.
void expect_no_picture(const std::filesystem::path& model, int code, const std::vector<std::string>& names, std::vector<std::string> more = {});

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

}  // namespace vivace
