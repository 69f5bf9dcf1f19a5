#include "blocks.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"

namespace vivace::cli {
namespace {

// A module list's name and the class of its entries.
constexpr std::pair<std::string_view, std::string_view> kLists[] = {
    {"transformer_blocks", "BasicTransformerBlock"}, {"resnets", "ResnetBlock2D"},        {"layers", "CLIPEncoderLayer"},
    {"downsamplers", "Downsample2D"},                {"upsamplers", "Upsample2D"},
};

// The length of the scope's beginning that names an entry of `list`: of "mid.resnets.0.conv1" and "resnets" that of "mid.resnets.0".
std::optional<size_t> entry_length(std::string_view scope, std::string_view list) {
  const std::string text = '.' + std::string(scope) + '.', dotted = cat('.', list, '.');
  const size_t at = text.rfind(dotted);
  if (at == std::string::npos) return std::nullopt;
  const size_t number = at + dotted.size(), end = text.find('.', number);
  if (end == std::string::npos || text.find_first_not_of("0123456789", number) != end) return std::nullopt;
  return end - 1;  // the dot put in front does not count
}

}  // namespace

std::vector<RepeatedBlock> repeated_blocks(const Graph& graph) {
  std::vector<RepeatedBlock> result;
  for (const auto& [list, class_name] : kLists) {
    std::map<std::string, std::string> weights;  // of each block, by its name: what lies in it
    for (const Node& node : graph.nodes) {
      if (node.op != Op::weight) continue;
      const std::string& name = node.attrs.text("name");
      if (const auto length = entry_length(name, list)) weights[name.substr(0, *length)] += cat(name.substr(*length), to_string(node.shape), ';');
    }
    std::set<std::string> kinds;
    for (const auto& [name, text] : weights) kinds.insert(text);
    if (weights.size() > 1) result.push_back({std::string(class_name), static_cast<int>(weights.size()), static_cast<int>(kinds.size())});
  }
  return result;
}

}  // namespace vivace::cli
