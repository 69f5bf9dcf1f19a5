#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// "34", "2.57 B", "1.52x", "16 %": a number and at most a unit.
bool is_number(const std::string& cell) {
  if (cell.empty() || !std::isdigit(static_cast<unsigned char>(cell[0]))) return false;
  const std::string unit = cell.substr(std::min(cell.find_first_not_of("0123456789.,+-e"), cell.size()));
  constexpr size_t kUnit = 4;  // " MiB", " kB", "x"
  return unit.size() <= kUnit;
}

// Bytes of UTF-8 that begin a character: how wide a cell looks.
size_t width(const std::string& cell) {
  return static_cast<size_t>(std::ranges::count_if(cell, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) ::_exit(141);  // the reader has seen enough (| head): as a signal would have ended it
  throw UserError(cat("cannot write to standard output: ", std::strerror(errno)));
}

void print_json(const nlohmann::json& value) { print(json_text(value, 2) + "\n"); }

std::string Table::text(int indent) const {
  std::vector<size_t> widths;
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) {
      if (i >= widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], width(row[i]));
    }
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line(static_cast<size_t>(indent), ' ');
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string& cell = rows_[r][i];
      const std::string space(widths[i] - width(cell), ' ');
      // A heading stands over its column's numbers.
      const bool right = is_number(r == 0 && rows_.size() > 1 && i < rows_[1].size() ? rows_[1][i] : cell);
      line += (right ? space + cell : cell + space) + (i + 1 < rows_[r].size() ? "  " : "");
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + '\n';
  }
  return out;
}

std::string count_text(double count) {
  static constexpr const char* kUnits[] = {"", " k", " M", " B"};
  size_t unit = 0;
  for (; count >= 1000 && unit < 3; ++unit) count /= 1000;
  char text[64];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f%s" : count < 10 ? "%.2f%s" : count < 100 ? "%.1f%s" : "%.0f%s", count, kUnits[unit]);
  return text;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::vector<Image> pictures_of(const PipelineOutput& out) {
  std::vector<Image> pictures = out.images;
  for (const Video& video : out.frames)
    for (int i = 0; i < video.frames(); ++i) pictures.push_back(video.frame(i));
  return pictures;
}

const Timings& steps_timed(const PipelineOutput& out) {
  if (out.timings.steps.empty())
    throw UsageError("the call takes no step, and there is nothing to time: --denoising-end ends it before the first one");
  return out.timings;
}

int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

}  // namespace vivace::cli
