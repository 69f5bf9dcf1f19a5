// The last stage: a kernel for every node, packed constants, buffers, a Plan.
#include "compiler/lower.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "compiler/plan_memory.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, const Backend& backend, const CompileOptions& options) : graph_(graph), backend_(backend), options_(options) {}

  Plan run() {
    plan_.backend = backend_.name;
    make_values();
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op)) lower(id);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (graph_[id].op == Op::input) plan_.inputs.push_back({graph_[id].attrs.text("name"), id});
    for (const auto& [name, id] : graph_.outputs) plan_.outputs.push_back({name, id});
    plan_memory(plan_, backend_);
    return std::move(plan_);
  }

 private:
  // Value i of the plan is node i of the graph; packed constants follow.
  void make_values() {
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_[id];
      PlanValue value{.type = {node.dtype, node.shape}, .phase = node.phase};
      if (node.op == Op::weight) {
        value.where = PlanValue::Where::weight;
        value.key = node.attrs.text("name");
      } else if (node.phase == Phase::prepare) {
        value.where = PlanValue::Where::constant;
        value.key = cat(op_name(node.op), '(', print_attrs(node.attrs), ')', dtype_name(node.dtype), to_string(node.shape));
        for (NodeId in : node.inputs) value.key += in == kNone ? ",_" : cat(",{", plan_.values[static_cast<size_t>(in)].key, '}');
      }
      plan_.values.push_back(std::move(value));
    }
  }

  KernelCall call_of(const Node& node) const {
    KernelCall call{.op = node.op, .attrs = &node.attrs, .in = {}, .out = {node.dtype, node.shape}};
    for (NodeId in : node.inputs)
      call.in.push_back(in == kNone ? std::nullopt : std::optional(Operand{graph_[in].dtype, graph_[in].shape, 0, graph_[in].phase == Phase::prepare}));
    return call;
  }

  // Views of a value in the arena need no kernel: they are the same memory.
  bool is_free_view(const Node& node) const { return is_view(node.op) && node.phase != Phase::prepare && graph_[node.inputs[0]].phase == node.phase; }

  bool excluded_by_user(const KernelEntry& entry) const {
    if (entry.op != Op::attention || options_.sdpa == SDPBackend::automatic) return false;
    constexpr std::array names{"", "flash", "efficient", "math"};
    return entry.name.find(names[static_cast<size_t>(options_.sdpa)]) == std::string_view::npos;
  }

  const KernelEntry& choose(const Node& node, const KernelCall& call, PlanStep& step) {
    for (const KernelEntry& entry : backend_.kernels) {
      if (entry.op != node.op) continue;
      if (excluded_by_user(entry)) {
        step.refused.emplace_back(entry.name, "another attention backend was asked for");
        continue;
      }
      if (Refusal reason = entry.refuse ? entry.refuse(call) : std::nullopt)
        step.refused.emplace_back(entry.name, *reason);
      else
        return entry;
    }
    std::string reasons;
    for (const auto& [kernel, reason] : step.refused) reasons += cat("; ", kernel, ": ", reason);
    if (node.op == Op::attention && options_.sdpa != SDPBackend::automatic)
      throw UserError(cat("the attention in ", node.scope, " cannot run on the backend that was asked for", reasons));
    throw InternalError(cat("no kernel for ", op_name(node.op), " in ", node.scope.empty() ? "the graph" : node.scope, " (line ", node.line, ")", reasons));
  }

  void lower(NodeId id) {
    const Node& node = graph_[id];
    if (is_free_view(node)) {
      plan_.values[static_cast<size_t>(id)].inside = node.inputs[0];
      return;
    }
    PlanStep step{.op = node.op, .attrs = node.attrs, .in = {node.inputs.begin(), node.inputs.end()}, .out = id, .scope = node.scope, .line = node.line};
    KernelCall call = call_of(node);
    const KernelEntry& entry = choose(node, call, step);
    step.kernel = entry.name;
    std::vector<PlanStep>& program = node.phase == Phase::prepare ? plan_.prepare : node.phase == Phase::setup ? plan_.setup : plan_.step;
    const auto packed = static_cast<size_t>(entry.packed_input);
    if (entry.packed_input >= 0 && call.has(packed) && call.in[packed]->constant)
      step.in[packed] = pack(entry, call, node, static_cast<int32_t>(program.size()));
    program.push_back(std::move(step));
  }

  int32_t pack(const KernelEntry& entry, const KernelCall& call, const Node& node, int32_t consumer) {
    const int32_t source = node.inputs[static_cast<size_t>(entry.packed_input)];
    const PlanValue& from = plan_.values[static_cast<size_t>(source)];
    const std::string key = cat("pack ", entry.name, '(', entry.pack_key(call), "){", from.key, '}');
    for (size_t i = static_cast<size_t>(graph_.size()); i < plan_.values.size(); ++i)
      if (plan_.values[i].key == key) return static_cast<int32_t>(i);
    PlanValue value{.type = from.type, .where = PlanValue::Where::constant, .phase = Phase::prepare};
    value.key = key;
    const auto id = static_cast<int32_t>(plan_.values.size());
    plan_.values.push_back(std::move(value));
    plan_.constant_bytes += static_cast<int64_t>(entry.packed_bytes(call));
    plan_.prepare.push_back({.kernel = std::string(entry.name), .op = node.op, .attrs = node.attrs, .in = {source}, .out = id, .scope = node.scope,
                             .line = node.line, .pack = true, .consumer = consumer, .consumer_phase = node.phase});
    return id;
  }

  const Graph& graph_;
  const Backend& backend_;
  const CompileOptions& options_;
  Plan plan_;
};

}  // namespace

Plan lower(const Graph& graph, const Backend& backend, const CompileOptions& options) { return Lowering(graph, backend, options).run(); }

Plan compile(Graph graph, const Backend& backend, const CompileOptions& options) {
  std::vector<std::pair<std::string, double>> seconds;
  graph = run_passes(std::move(graph), options, &seconds);
  Plan plan = lower(graph, backend, options);
  plan.pass_seconds = std::move(seconds);
  return plan;
}

}  // namespace vivace
