// Filters of linear layers: the presets, and filters as text.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "vivace/error.h"
#include "vivace/quantize.h"

namespace vivace {
namespace {

constexpr const char* kExpected =
    "expected all, dynamic_quant_filter_fn, transformer_quant_filter_fn, a file of layer names, or terms such as "
    "in>=640,out<=1280,name~attn1,class=BasicTransformerBlock";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

QuantizeFilter named_in_file(const std::string& path) {
  std::set<std::string> names;
  for (const std::string& line : read_lines(path))
    if (const std::string name = trimmed(line.substr(0, line.find('#'))); !name.empty()) names.insert(name);
  return [names](const LinearInfo& layer) { return names.contains(layer.name); };
}

bool holds(int64_t value, const std::string& comparison, int64_t bound) {
  if (comparison == ">=") return value >= bound;
  if (comparison == "<=") return value <= bound;
  if (comparison == ">") return value > bound;
  if (comparison == "<") return value < bound;
  return value == bound;
}

QuantizeFilter term(const std::string& text, const std::string& whole) {
  const auto fail = [&] { throw UsageError(cat("quantisation filter \"", whole, "\": the term \"", text, "\" is not understood: ", kExpected)); };
  const size_t at = text.find_first_of("<>=~");
  if (at == std::string::npos || at == 0) fail();
  const size_t end = std::min(text.find_first_not_of("<>=~", at), text.size());
  const std::string key = text.substr(0, at), comparison = text.substr(at, end - at), value = text.substr(end);
  if (value.empty()) fail();
  if (key == "name" && comparison == "~") return [value](const LinearInfo& layer) { return layer.name.find(value) != std::string::npos; };
  if (key == "class" && comparison == "=") return [value](const LinearInfo& layer) { return layer.block_class == value; };
  int64_t bound = 0;
  const auto [parsed, error] = std::from_chars(value.data(), value.data() + value.size(), bound);
  constexpr const char* kComparisons[] = {">=", "<=", ">", "<", "="};
  if ((key != "in" && key != "out") || error != std::errc() || parsed != value.data() + value.size() ||
      std::ranges::count(kComparisons, comparison) == 0)
    fail();
  return [key, comparison, bound](const LinearInfo& layer) { return holds(key == "in" ? layer.in_features : layer.out_features, comparison, bound); };
}

}  // namespace

bool quantize_all(const LinearInfo&) { return true; }

// huggingface/diffusion-fast, utils/pipeline_utils.py.
bool dynamic_quant_filter_fn(const LinearInfo& layer) {
  static const std::set<std::pair<int64_t, int64_t>> kNoGain{
      {1280, 640}, {1920, 1280}, {1920, 640}, {2048, 1280}, {2048, 2560}, {2560, 1280}, {256, 128}, {2816, 1280}, {320, 640}, {512, 1536},
      {512, 256},  {512, 512},   {640, 1280}, {640, 1920},  {640, 320},   {640, 5120},  {640, 640}, {960, 320},   {960, 640}};
  return layer.in_features > 16 && !kNoGain.contains({layer.in_features, layer.out_features});
}

bool transformer_quant_filter_fn(const LinearInfo& layer) {
  const size_t list = layer.name.rfind("transformer_blocks.");
  if (list == std::string::npos) return false;
  const size_t number = layer.name.find('.', list) + 1, part = layer.name.find('.', number);
  // "transformer_blocks.0.norm1_context.linear"
  return part != std::string::npos && layer.name.compare(part + 1, 4, "norm") != 0;
}

QuantizeFilter parse_quantize_filter(const std::string& text) {
  if (text == "all") return quantize_all;
  if (text == "transformer_quant_filter_fn") return transformer_quant_filter_fn;
  if (text == "dynamic_quant_filter_fn") return dynamic_quant_filter_fn;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(text, ignored)) return named_in_file(text);
  if (text.find_first_of("<>=~") == std::string::npos)
    throw UsageError(cat("quantisation filter \"", text, "\": no such preset and no such file: ", kExpected));
  std::vector<QuantizeFilter> terms;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) terms.push_back(term(trimmed(part), text));
  return [terms](const LinearInfo& layer) { return std::ranges::all_of(terms, [&](const QuantizeFilter& t) { return t(layer); }); };
}

}  // namespace vivace
