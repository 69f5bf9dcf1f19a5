#include "compiler/symbols.h"

#include <algorithm>
#include <sstream>

#include "base/log.h"
#include "runtime/resize.h"
#include "vivace/error.h"

namespace vivace {

namespace {

constexpr char kFixed = '=';

}  // namespace

std::vector<PlanDim> parse_dims(const std::string& text) {
  std::vector<PlanDim> dims;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    if (word.starts_with(kFixed)) word.erase(0, 1);
    PlanDim dim{.name = word == "_" ? "" : word};
    if (const size_t star = word.find('*'); star != std::string::npos) {
      dim.multiple_of = std::atoll(word.c_str());
      dim.name = word.substr(star + 1);
    }
    if (word.empty() || dim.multiple_of < 1) throw InternalError(cat("dims \"", text, "\": expected a name, multiple*name or _ for each dimension"));
    dims.push_back(std::move(dim));
  }
  return dims;
}

std::set<std::string> fixed_sizes(const Graph& graph) {
  std::set<std::string> names;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::input) continue;
    std::istringstream words(node.attrs.text("dims"));
    for (std::string word; std::getline(words, word, ',');)
      if (word.starts_with(kFixed)) names.insert(word.substr(1));
  }
  return names;
}

std::vector<PlanSymbol> symbols_of(const Plan& plan, const CompileOptions& options, const std::set<std::string>& fixed) {
  std::vector<PlanSymbol> symbols;
  const Sizes sizes = sizes_of(plan);
  for (const auto& [name, size] : sizes) {
    if (name == kTimesteps) {
      symbols.push_back({{name}});
      continue;
    }
    if (!options.dynamic || fixed.contains(name)) continue;
    const auto same =
        std::ranges::find_if(symbols, [&, size = size](const PlanSymbol& s) { return s.names[0] != kTimesteps && sizes.at(s.names[0]) == size; });
    if (options.use_duck_shape && same != symbols.end())
      same->names.push_back(name);
    else
      symbols.push_back({{name}});
  }
  return symbols;
}

}  // namespace vivace
