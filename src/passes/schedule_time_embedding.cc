#include <algorithm>
#include <utility>

#include "ops/infer.h"
#include "passes/match.h"
#include "passes/passes.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A number made of one other: what a model does to the timestep before its sinusoid.
bool is_scaling(const Node& node) { return (is_elementwise(node.op) || node.op == Op::tile) && node.inputs.size() == 1 && node.shape == Shape{1}; }

// Whether sinusoids read `id`, scaled maybe, and nothing else does.
bool feeds_sinusoids_alone(const Graph& graph, const std::vector<std::vector<NodeId>>& users, NodeId id) {
  if (std::ranges::any_of(graph.outputs, [&](const auto& output) { return output.second == id; })) return false;
  return std::ranges::all_of(users[static_cast<size_t>(id)], [&](NodeId user) {
    return graph[user].op == Op::sinusoid || (is_scaling(graph[user]) && feeds_sinusoids_alone(graph, users, user));
  });
}

// Rewrites what the timestep feeds for a leading dimension of timesteps: a value [R, ..] becomes a table [T, R, ..]. T is 1 while compiling.
class TimeEmbeddingSchedule {
 public:
  TimeEmbeddingSchedule(Graph& graph, NodeId timestep)
      : graph_(graph), timestep_(timestep), tables_(graph.nodes.size(), kNone), scaled_(graph.nodes.size(), kNone), varies_(graph.nodes.size()) {
    scaled_[static_cast<size_t>(timestep)] = timestep;
  }

  void run() {
    const NodeId count = graph_.size();
    for (NodeId id = 0; id < count; ++id) {
      const Node& node = graph_[id];
      const auto reads = [&](NodeId in) { return in != kNone && varies_[static_cast<size_t>(in)]; };
      varies_[static_cast<size_t>(id)] = node.op == Op::input ? node.phase == Phase::step : std::ranges::any_of(node.inputs, reads);
      if (!varies_[static_cast<size_t>(id)] || node.op == Op::input) continue;
      if (is_scaling(node) && scaled_[static_cast<size_t>(node.inputs[0])] != kNone)
        scaled_[static_cast<size_t>(id)] = scale_all(id);
      else
        tables_[static_cast<size_t>(id)] = node.op == Op::sinusoid ? begin_table(id) : table(id);
    }
    select_rows(count);
  }

 private:
  // sinusoid(timestep [T]) -> [T, C] -> [T, 1, C].
  NodeId begin_table(NodeId id) {
    const NodeId times = scaled_[static_cast<size_t>(graph_[id].inputs[0])];
    if (times == kNone) return kNone;
    Node all = graph_[id];
    all.inputs = {times};
    all.phase = Phase::setup;
    Node rows = all;
    rows.op = Op::reshape;
    rows.inputs = {graph_.add(std::move(all))};
    rows.attrs = {{"shape", std::vector<int64_t>{0, 1, -1}}};
    rows.shape.insert(rows.shape.begin() + 1, 1);
    return graph_.add(std::move(rows));
  }

  // The same of all timesteps, [T].
  NodeId scale_all(NodeId id) {
    Node all = graph_[id];
    all.inputs = {scaled_[static_cast<size_t>(all.inputs[0])]};
    all.phase = Phase::setup;
    return graph_.add(std::move(all));
  }

  // The table of a node that computes each row from the same row of its inputs' tables and from values that are the same at every step.
  NodeId table(NodeId id) {
    Node node = graph_[id];
    const bool elementwise = is_elementwise(node.op) || node.op == Op::tile;
    if (!elementwise && node.op != Op::linear && node.op != Op::reshape && node.op != Op::slice && node.op != Op::concat) return kNone;
    const size_t rank = node.shape.size();
    node.phase = Phase::setup;
    if (const NodeId varying = input_or_none(node, 3);
        node.op == Op::linear && varying != kNone && tables_[static_cast<size_t>(varying)] != kNone && !varies_[static_cast<size_t>(node.inputs[0])])
      return plus_product(tables_[static_cast<size_t>(varying)], std::move(node));
    NodeId residual = kNone;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      NodeId& in = node.inputs[i];
      if (in == kNone) continue;
      if (i == 0 && node.op == Op::linear) read_floats(node);
      const NodeId rows = tables_[static_cast<size_t>(in)];
      const bool in_table = rows != kNone;
      if (!in_table && varies_[static_cast<size_t>(in)]) return kNone;
      // A residual that is the same at every step is added to each row behind the product.
      if (node.op == Op::linear && i == 3 && !in_table) {
        residual = std::exchange(in, kNone);
        continue;
      }
      // Broadcasting counts from the last dimension: a table of lower rank would meet the timesteps with another dimension.
      if (elementwise && (in_table ? graph_[in].shape.size() != rank : graph_[in].shape.size() > rank)) return kNone;
      const bool has_rows = node.op == Op::concat || (node.op == Op::linear ? i == 0 || i == 3 : i == 0);
      if (!elementwise && has_rows != in_table) return kNone;
      if (in_table) in = rows;
      node.phase = std::max(node.phase, graph_[in].phase);
    }
    if (node.op == Op::reshape) {
      std::vector<int64_t> shape = node.attrs.integers("shape");
      shape.insert(shape.begin(), 0);
      // 0 means the input's size at the same place: the places have moved along.
      node.attrs.set("shape", std::move(shape));
    } else if (const int64_t axis = node.attrs.integer("axis"); axis >= 0 && (node.op == Op::slice || node.op == Op::concat)) {
      node.attrs.set("axis", axis + 1);
    }
    while (node.inputs.back() == kNone) node.inputs.pop_back();
    node.shape.insert(node.shape.begin(), 1);
    if (infer(graph_, node) != TensorType{node.dtype, node.shape}) return kNone;
    const NodeId rows = graph_.add(std::move(node));
    return residual == kNone ? rows : plus(rows, residual);
  }

  // The rows of 8 bits that several linears share have no table: each quantises the table's rows itself, once a prompt.
  void read_floats(Node& linear) const {
    const Node& x = graph_[linear.inputs[0]];
    if (x.op != Op::quantize_rows || tables_[static_cast<size_t>(x.inputs[0])] == kNone) return;
    linear.inputs[0] = x.inputs[0];
    linear.attrs.erase("to");
  }

  // The rows with a product added that is the same at every step: `linear` without its residual, which the rows are of.
  NodeId plus_product(NodeId rows, Node linear) {
    linear.inputs[3] = kNone;
    while (linear.inputs.back() == kNone) linear.inputs.pop_back();
    for (NodeId in : linear.inputs) {
      if (in == kNone) continue;
      if (varies_[static_cast<size_t>(in)]) return kNone;
      linear.phase = std::max(linear.phase, graph_[in].phase);
    }
    return plus(rows, graph_.add(std::move(linear)));
  }

  NodeId plus(NodeId rows, NodeId residual) {
    Node sum = graph_[rows];
    sum.op = Op::add;
    sum.attrs = {};
    sum.inputs = {rows, residual};
    sum.phase = std::max(sum.phase, graph_[residual].phase);
    return infer(graph_, sum) == TensorType{sum.dtype, sum.shape} ? graph_.add(std::move(sum)) : kNone;
  }

  // Readers outside take the row of their step.
  void select_rows(NodeId count) {
    Node index = graph_[timestep_];
    index.attrs = {{"name", std::string("step_index")}};
    index.dtype = DType::int32;
    const NodeId step_index = graph_.add(std::move(index));
    Node& timestep = graph_[timestep_];
    timestep.phase = Phase::setup;
    timestep.attrs.set("dims", std::string("timesteps"));
    std::vector<NodeId> rows(static_cast<size_t>(count), kNone);
    const auto row_of = [&](NodeId id) {
      NodeId& row = rows[static_cast<size_t>(id)];
      if (row != kNone) return row;
      Node select = graph_[id];
      select.op = Op::select_row;
      select.inputs = {tables_[static_cast<size_t>(id)], step_index};
      select.attrs = {};
      select.phase = Phase::step;
      return row = graph_.add(std::move(select));
    };
    const auto has_table = [&](NodeId id) { return id != kNone && tables_[static_cast<size_t>(id)] != kNone; };
    for (NodeId id = 0; id < count; ++id) {
      if (has_table(id)) continue;  // goes, unless somebody outside reads it, who then reads the row
      for (size_t i = 0; i < graph_[id].inputs.size(); ++i)
        if (const NodeId in = graph_[id].inputs[i]; has_table(in)) {
          const NodeId row = row_of(in);
          graph_[id].inputs[i] = row;
        }
    }
    for (auto& [name, id] : graph_.outputs)
      if (has_table(id)) id = row_of(id);
    graph_.normalize();
  }

  Graph& graph_;
  NodeId timestep_;
  std::vector<NodeId> tables_;   // by node of the graph as it was; kNone: no table
  std::vector<NodeId> scaled_;   // by node: the timestep for all steps, or what was made of it before a sinusoid; kNone: neither
  std::vector<uint8_t> varies_;  // depends on an input of the step
};

}  // namespace

void schedule_time_embedding(Graph& graph) {
  const auto is_timestep = [](const Node& n) { return n.op == Op::input && n.attrs.text("name") == "timestep"; };
  const auto found = std::ranges::find_if(graph.nodes, is_timestep);
  // One timestep an image is no schedule.
  if (found == graph.nodes.end() || found->phase != Phase::step || found->shape != Shape{1} || found->attrs.has("dims")) return;
  const auto id = static_cast<NodeId>(found - graph.nodes.begin());
  if (!feeds_sinusoids_alone(graph, graph.users(), id)) return;
  TimeEmbeddingSchedule(graph, id).run();
}

}  // namespace vivace
