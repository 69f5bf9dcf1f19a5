#include "compiler/place_parts.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>

namespace vivace {
namespace {

class Placement {
 public:
  Placement(const Graph& graph, const std::vector<PlacedNode>& nodes)
      : graph_(graph), nodes_(nodes), users_(graph.users()), taken_(graph.nodes.size()) {
    for (const auto& [name, id] : graph.outputs) taken_[static_cast<size_t>(id)] = 1;  // the caller's
  }

  // The parts of one concat that can be placed, the one made last first.
  std::vector<PlacedPart> parts(NodeId concat) {
    const Node& node = graph_[concat];
    const auto rank = static_cast<int64_t>(node.shape.size());
    const auto axis = static_cast<size_t>((node.attrs.integer("axis") + rank) % rank);
    const bool by_rows = static_cast<int64_t>(axis) < rank - 1;
    // Behind another axis rows follow one another while its size is 1; in setup that may be the timesteps', which every plan may change.
    if (by_rows && axis > 0 && node.phase != Phase::step) return {};
    const int64_t row = numel(node.shape) / std::max<int64_t>(1, node.shape[axis]);  // elements of an entry of the axis
    std::vector<PlacedPart> found;
    int64_t at = 0;
    for (NodeId in : node.inputs) {
      const int64_t shift = at * (by_rows ? row : 1) * static_cast<int64_t>(dtype_size(node.dtype));
      at += graph_[in].shape[axis];
      if (auto values = values_of(root(in), concat, !by_rows))
        found.push_back({concat, root(in), std::move(*values), by_rows ? 0 : node.shape.back(), shift});
    }
    std::ranges::sort(found, std::greater(), &PlacedPart::part);
    return found;
  }

  void take(const PlacedPart& part) {
    for (NodeId value : part.values) taken_[static_cast<size_t>(value)] = 1;
  }

 private:
  const PlacedNode& at(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  bool keeps_rows(NodeId view) const { return graph_[view].shape.back() == graph_[graph_[view].inputs[0]].shape.back(); }

  NodeId root(NodeId id) const {
    while (at(id).free_view) id = graph_[id].inputs[0];
    return id;
  }

  // `part` and its views, when all their readers can live with the place; `pitched`: with rows that lie apart.
  std::optional<std::vector<NodeId>> values_of(NodeId part, NodeId concat, bool pitched) const {
    const KernelEntry* producer = at(part).entry;
    const Node& node = graph_[part];
    // A joined concat's own parts lie inside it: a buffer in a buffer in a buffer would need a pitch of its own.
    if (!producer || (pitched && !producer->strided_out) || node.phase != graph_[concat].phase || node.attrs.has("join")) return std::nullopt;
    std::vector<NodeId> values{part};
    int joins = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (taken_[static_cast<size_t>(values[i])]) return std::nullopt;
      for (NodeId user : users_[static_cast<size_t>(values[i])]) {
        if (user == concat) {
          joins += static_cast<int>(std::ranges::count(graph_[user].inputs, values[i]));
        } else if (at(user).free_view) {
          if (graph_[user].inputs[0] != values[i]) continue;  // reads the shape alone
          if (pitched && !keeps_rows(user)) return std::nullopt;
          values.push_back(user);
        } else if (at(user).slice_in_place ? pitched : !at(user).entry || (pitched && !at(user).entry->strided_in)) {
          return std::nullopt;  // a slice of what has a pitch would need two
        }
      }
    }
    return joins == 1 ? std::optional(values) : std::nullopt;
  }

  const Graph& graph_;
  const std::vector<PlacedNode>& nodes_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<uint8_t> taken_;
};

// How many bytes of activations are live at each step of a plan, setup before step; kept up to date while parts are placed.
class LiveBytes {
 public:
  explicit LiveBytes(const Plan& plan) : plan_(plan), lives_(plan.values.size()), live_(plan.setup.size() + plan.step.size()) {
    int64_t time = 0;
    for (const auto* program : {&plan.setup, &plan.step})
      for (const PlanStep& step : *program) {
        for (int32_t in : step.in)
          if (in >= 0) touch(in, time);
        touch(step.out, time++);
      }
    for (const PlanPort& port : plan.outputs) touch(port.value, time - 1);
    for (size_t v = 0; v < lives_.size(); ++v)
      if (lives_[v].last >= 0) add(live_, lives_[v].first, lives_[v].last, bytes(static_cast<NodeId>(v)));
    for (int64_t bytes : live_) peak_ = std::max(peak_, bytes);
  }

  // Whether these parts of one concat may lie in its buffer; if so, they do from now on.
  bool join(std::span<const PlacedPart> parts) {
    if (parts.empty()) return true;
    const NodeId concat = parts[0].concat;
    Life& joined = lives_[static_cast<size_t>(concat)];
    Life life = joined;
    std::vector<int64_t> after = live_;
    for (const PlacedPart& part : parts) {
      const Life own = lives_[static_cast<size_t>(root(part.part))];
      // Written over its input, it leaves that buffer as it is.
      if (root(part.part) == part.part) add(after, own.first, own.last, -bytes(part.part));
      life = {std::min(life.first, produced_[part.part]), std::max(life.last, own.last)};
    }
    add(after, life.first, joined.first - 1, bytes(concat));
    add(after, joined.last + 1, life.last, bytes(concat));
    if (std::ranges::any_of(after, [&](int64_t bytes) { return bytes > peak_; })) return false;
    live_ = std::move(after);
    joined = life;
    return true;
  }

 private:
  struct Life {
    int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
  };

  NodeId root(NodeId v) const {
    while (plan_.values[static_cast<size_t>(v)].inside >= 0) v = plan_.values[static_cast<size_t>(v)].inside;
    return v;
  }
  int64_t bytes(NodeId v) const { return plan_.values[static_cast<size_t>(v)].type.bytes(); }
  void touch(NodeId v, int64_t time) {
    if (plan_.values[static_cast<size_t>(v)].where != PlanValue::Where::arena) return;
    produced_.emplace(v, time);  // the first time is that of the step that makes it
    Life& life = lives_[static_cast<size_t>(root(v))];
    life.first = std::min(life.first, time);
    // What setup leaves for the loop is read at every step.
    const bool stays = plan_.values[static_cast<size_t>(v)].phase == Phase::setup && time >= static_cast<int64_t>(plan_.setup.size());
    life.last = stays ? static_cast<int64_t>(live_.size()) - 1 : std::max(life.last, time);
  }
  static void add(std::vector<int64_t>& live, int64_t first, int64_t last, int64_t bytes) {
    for (int64_t t = first; t <= last; ++t) live[static_cast<size_t>(t)] += bytes;
  }

  const Plan& plan_;
  std::vector<Life> lives_;  // of roots
  std::map<NodeId, int64_t> produced_;
  std::vector<int64_t> live_;  // by time
  int64_t peak_ = 0;
};

}  // namespace

std::vector<PlacedPart> place_parts(const Graph& graph, const std::vector<PlacedNode>& nodes, const Plan& plain) {
  Placement placement(graph, nodes);
  LiveBytes live(plain);
  std::vector<PlacedPart> placed;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph[id].op != Op::concat || !graph[id].attrs.has("join")) continue;
    std::vector<PlacedPart> parts = placement.parts(id);
    // One part alone may cost memory that all of them together do not.
    if (!live.join(parts)) std::erase_if(parts, [&](PlacedPart& part) { return !live.join({&part, 1}); });
    for (PlacedPart& part : parts) {
      placement.take(part);
      placed.push_back(std::move(part));
    }
  }
  return placed;
}

}  // namespace vivace
