// What goes to standard output: tables, JSON, sizes in words.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/memory_size.h"
#include "vivace/pipeline.h"

namespace vivace::cli {

// Throws UserError when standard output cannot be written (closed, full).
void print(const std::string& text);
void print_json(const nlohmann::json& value);

// Columns as wide as their widest cell; numbers (cells that begin with a digit) to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // `indent` spaces before each line.
  std::string text(int indent = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "6.1 M", "2.57 B".
std::string count_text(double count);
// printf's %.*f.
std::string fixed(double value, int digits);

// All pictures of a call: its images, or the frames of its videos one after another. They share the values.
std::vector<Image> pictures_of(const PipelineOutput& out);

// Those of a call. Throws UsageError where it took no step: there is nothing to time.
const Timings& steps_timed(const PipelineOutput& out);

// The largest resident size this process has had so far (VmHWM), in bytes.
int64_t peak_resident_bytes();

}  // namespace vivace::cli
