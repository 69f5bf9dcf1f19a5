#include "compiler/regions.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "base/joined.h"
#include "base/log.h"
#include "base/seconds.h"
#include "vivace/error.h"

namespace vivace {
namespace {

bool is_inside(std::string_view scope, std::string_view region) {
  return scope.starts_with(region) && (scope.size() == region.size() || scope[region.size()] == '.');
}

// One occurrence, cut out of the graph: inputs "0", "1", ... stand for the values from outside, names begin at the region.
struct Region {
  std::string scope;
  Graph graph;
  std::vector<NodeId> inputs, outputs;  // of the whole graph
};

class Cutter {
 public:
  Cutter(const Graph& whole, std::string scope) : whole_(whole), renamed_(whole.nodes.size(), kNone) { region_.scope = std::move(scope); }

  // Nothing where the scope is no region: something outside lies between two of its nodes, or feeds it a constant.
  std::optional<Region> cut(const std::vector<std::vector<NodeId>>& users) {
    std::vector<uint8_t> behind(whole_.nodes.size());  // outside, and depends on the region
    for (NodeId id = 0; id < whole_.size(); ++id) {
      const Node& node = whole_[id];
      const bool inside = is_inside(node.scope, region_.scope);
      for (NodeId in : node.inputs) {
        if (in == kNone) continue;
        const bool from_behind = behind[static_cast<size_t>(in)];
        if (inside && (from_behind || (!is_inside(whole_[in].scope, region_.scope) && whole_[in].phase == Phase::prepare))) return std::nullopt;
        behind[static_cast<size_t>(id)] |= !inside && (from_behind || renamed_[static_cast<size_t>(in)] != kNone);
      }
      if (inside) take(id);
    }
    std::set<NodeId> results;
    for (const auto& [name, id] : whole_.outputs) results.insert(id);
    for (NodeId id = 0; id < whole_.size(); ++id) {
      const NodeId own = taken(id);
      if (own == kNone || whole_[id].op == Op::weight) continue;
      if (results.contains(id) || std::ranges::any_of(users[static_cast<size_t>(id)], [&](NodeId user) { return taken(user) == kNone; })) {
        region_.graph.outputs.emplace_back(std::to_string(region_.outputs.size()), own);
        region_.outputs.push_back(id);
      }
    }
    return region_.outputs.empty() ? std::nullopt : std::optional(std::move(region_));
  }

 private:
  // The region's node made from a node of the whole; kNone for nodes outside.
  NodeId taken(NodeId id) const { return is_inside(whole_[id].scope, region_.scope) ? renamed_[static_cast<size_t>(id)] : kNone; }

  void take(NodeId id) {
    Node node = whole_[id];
    for (NodeId& in : node.inputs)
      if (in != kNone) in = is_inside(whole_[in].scope, region_.scope) ? renamed_[static_cast<size_t>(in)] : input(in);
    const size_t length = region_.scope.size();
    node.scope.erase(0, std::min(node.scope.size(), length + 1));
    if (node.op == Op::weight) node.attrs.set("name", node.attrs.text("name").substr(length + 1));
    renamed_[static_cast<size_t>(id)] = region_.graph.add(std::move(node));
  }

  NodeId input(NodeId from) {
    const auto known = std::ranges::find(region_.inputs, from);
    if (known != region_.inputs.end()) return input_nodes_[static_cast<size_t>(known - region_.inputs.begin())];
    const Node& outside = whole_[from];
    Node node{.op = Op::input,
              .attrs = {{"name", std::to_string(region_.inputs.size())}},
              .dtype = outside.dtype,
              .shape = outside.shape,
              .phase = outside.phase};
    region_.inputs.push_back(from);
    input_nodes_.push_back(region_.graph.add(std::move(node)));
    return input_nodes_.back();
  }

  const Graph& whole_;
  Region region_;
  std::vector<NodeId> renamed_, input_nodes_;
};

// Adds `compiled` to the whole graph in the place of an occurrence. Gives the new value of each of its outputs.
std::vector<NodeId> splice(Graph& whole, const Region& region, const Graph& compiled) {
  std::vector<NodeId> renamed;
  for (const Node& from : compiled.nodes) {
    if (from.op == Op::input) {
      const std::string& name = from.attrs.text("name");
      size_t index = 0;
      std::from_chars(name.data(), name.data() + name.size(), index);
      renamed.push_back(region.inputs[index]);
      continue;
    }
    Node node = from;
    for (NodeId& in : node.inputs)
      if (in != kNone) in = renamed[static_cast<size_t>(in)];
    node.scope = from.scope.empty() ? region.scope : region.scope + '.' + from.scope;
    if (node.op == Op::weight) node.attrs.set("name", region.scope + '.' + from.attrs.text("name"));
    node.region = true;
    renamed.push_back(whole.add(std::move(node)));
  }
  std::vector<NodeId> results;
  results.reserve(compiled.outputs.size());
  for (const auto& [name, id] : compiled.outputs) results.push_back(renamed[static_cast<size_t>(id)]);
  return results;
}

// Scopes whose occurrences repeat, under a text that equal occurrences share.
using Kinds = std::map<std::string, std::vector<Region>>;

int work(const Region& region) {
  return static_cast<int>(std::ranges::count_if(region.graph.nodes, [](const Node& n) { return !is_source(n.op) && !is_view(n.op); }));
}

Kinds cut_all(const Graph& graph, const std::set<std::string>& scopes) {
  const auto users = graph.users();
  Kinds kinds;
  for (const std::string& scope : scopes)
    if (auto region = Cutter(graph, scope).cut(users)) {
      std::vector<Region>& equal = kinds[print(region->graph)];
      equal.push_back(*std::move(region));
    }
  return kinds;
}

// Every scope that repeats; of those that overlap the ones that save the most work.
Kinds choose_regions(const Graph& graph) {
  std::set<std::string> scopes;
  for (const Node& node : graph.nodes)
    for (size_t end = node.scope.size(); end != std::string::npos && end > 0; end = node.scope.rfind('.', end - 1))
      scopes.insert(node.scope.substr(0, end));
  Kinds all = cut_all(graph, scopes);
  std::vector<std::pair<int, Kinds::iterator>> order;
  constexpr int kLeast = 4;  // a region below that has nothing to fuse
  for (auto kind = all.begin(); kind != all.end(); ++kind) {
    const int each = work(kind->second[0]), saved = each * (static_cast<int>(kind->second.size()) - 1);
    if (saved > 0 && each >= kLeast) order.emplace_back(saved, kind);
  }
  std::ranges::stable_sort(order, std::greater(), &std::pair<int, Kinds::iterator>::first);
  std::vector<std::string> taken;
  Kinds chosen;
  for (const auto& [saved, kind] : order) {
    std::vector<Region> free;
    for (Region& region : kind->second)
      if (std::ranges::none_of(taken, [&](const std::string& t) { return is_inside(t, region.scope) || is_inside(region.scope, t); }))
        free.push_back(std::move(region));
    if (free.size() < 2) continue;
    for (const Region& region : free) taken.push_back(region.scope);
    chosen[kind->first] = std::move(free);
  }
  return chosen;
}

// Classes of which the graph has at least so many.
std::vector<RepeatedBlock> blocks_of(const Graph& graph, size_t least) {
  std::map<std::string, std::map<std::string, std::string>> classes;  // the blocks of each, by scope, with what lies in them
  for (const Node& node : graph.nodes) {
    if (node.op != Op::weight) continue;
    const std::string& name = node.attrs.text("name");
    for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
      const auto block = graph.block_classes.find(name.substr(0, dot));
      if (block != graph.block_classes.end()) classes[block->second][block->first] += cat(name.substr(dot), to_string(node.shape), ';');
    }
  }
  std::vector<RepeatedBlock> result;
  for (const auto& [class_name, blocks] : classes) {
    if (blocks.size() < least) continue;
    RepeatedBlock block{.class_name = class_name};
    std::set<std::string> kinds;
    for (const auto& [scope, text] : blocks) {
      block.scopes.push_back(scope);
      kinds.insert(text);
    }
    block.kinds = static_cast<int>(kinds.size());
    result.push_back(std::move(block));
  }
  return result;
}

Kinds named_regions(const Graph& graph, const std::vector<std::string>& classes) {
  // A small model may have one of a class whose others have many.
  const std::vector<RepeatedBlock> blocks = blocks_of(graph, 1);
  std::set<std::string> scopes;
  for (const std::string& name : classes) {
    const auto block = std::ranges::find(blocks, name, &RepeatedBlock::class_name);
    if (block == blocks.end()) {
      const std::string known = joined(blocks, ", ", &RepeatedBlock::class_name);
      throw UsageError(cat("regional compilation: the model has no \"", name, "\": expected ", known.empty() ? "" : known + " or ", "auto"));
    }
    scopes.insert(block->scopes.begin(), block->scopes.end());
  }
  return cut_all(graph, scopes);
}

}  // namespace

std::vector<RepeatedBlock> repeated_blocks(const Graph& graph) { return blocks_of(graph, 2); }

Graph compile_regions(Graph graph, const std::vector<std::string>& classes, const std::function<Graph(Graph)>& passes,
                      std::vector<PlanRegion>& found) {
  const bool automatic = std::ranges::count(classes, "auto") > 0;
  const Kinds kinds = automatic ? choose_regions(graph) : named_regions(graph, classes);
  std::vector<std::pair<NodeId, NodeId>> replaced;
  for (const auto& [text, regions] : kinds) {
    const auto begin = std::chrono::steady_clock::now();
    const Graph compiled = passes(regions[0].graph);
    const double seconds = seconds_since(begin);
    for (const Region& region : regions) {
      const std::vector<NodeId> results = splice(graph, region, compiled);
      for (size_t i = 0; i < results.size(); ++i) replaced.emplace_back(region.outputs[i], results[i]);
    }
    found.push_back({regions[0].scope, static_cast<int>(regions.size()), work(regions[0]), seconds});
  }
  // When all are in place: an occurrence reads what another one gave.
  for (const auto& [from, to] : replaced) graph.replace_uses(from, to);
  graph.normalize();
  return graph;
}

}  // namespace vivace
