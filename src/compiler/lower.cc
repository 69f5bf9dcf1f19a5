// The last stage: of a kernel for every node a Plan, with packed constants and buffers.
#include "compiler/lower.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "compiler/choose_kernels.h"
#include "compiler/decompose_unsupported.h"
#include "compiler/place_parts.h"
#include "compiler/symbols.h"
#include "ops/infer.h"
#include "ops/positions.h"
#include "runtime/plan_memory.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request)
      : graph_(graph), device_(device), options_(options), choices_(choose_kernels(graph, device, options, tuning, request, autotuning_)) {}

  Plan run() {
    find_slices_in_place();
    Plan plain = assemble({});
    const std::vector<PlacedPart> parts = place_parts(graph_, placed_nodes(), plain);
    if (parts.empty()) return plain;
    Plan joined = assemble(parts);
    // No more bytes are live at once, but they may lie worse.
    return joined.arena_bytes <= plain.arena_bytes + plain.arena_bytes / 50 ? joined : plain;
  }

 private:
  Plan assemble(const std::vector<PlacedPart>& parts) {
    plan_ = {};
    on_host_.clear();
    plan_.backend = device_.target().name;
    plan_.autotuning = autotuning_;
    make_values();
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (slice_in_place_[static_cast<size_t>(id)]) look_into_whole(id);
    joined_.assign(graph_.nodes.size(), 0);
    for (const PlacedPart& part : parts) put_in_place(part);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op)) lower(id);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (graph_[id].op == Op::input)
        plan_.inputs.push_back({graph_[id].attrs.text("name"), id, parse_dims(graph_[id].attrs.text("dims")), graph_[id].attrs.text("state")});
    for (const auto& [name, id] : graph_.outputs) plan_.outputs.push_back({name, id, {}, ""});
    plan_.symbols = symbols_of(plan_, options_, fixed_sizes(graph_));
    count_constants();
    plan_memory(plan_, device_);
    return std::move(plan_);
  }

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

  // A kernel whose operands are not where the others' are: what it reads and writes is copied.
  bool crosses(const KernelEntry& entry) const { return entry.memory == Memory::host && !device_.shares_host_memory(); }

  // A slice of the last axis needs no copy when every reader can skip over the rest of the row, one that lies in one piece never does.
  void find_slices_in_place() {
    slice_in_place_.assign(graph_.nodes.size(), 0);
    std::vector<uint8_t> needs_dense(graph_.nodes.size()), given(graph_.nodes.size());
    for (const auto& [name, id] : graph_.outputs) given[static_cast<size_t>(id)] = 1;
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const KernelEntry* entry = choices_[static_cast<size_t>(id)].entry;
      for (NodeId in : graph_[id].inputs)
        if (in != kNone && (!entry || !entry->strided_in)) needs_dense[static_cast<size_t>(in)] = 1;
    }
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_[id];
      if (node.op != Op::slice || node.phase == Phase::prepare || given[static_cast<size_t>(id)]) continue;
      const Node& whole = graph_[node.inputs[0]];
      // An input's buffer is the caller's to fill; a slice of a slice would need two pitches.
      if (whole.op == Op::slice || is_source(whole.op) || is_view(whole.op) || whole.phase != node.phase) continue;
      const bool columns = axis_of_slice(node) + 1 == static_cast<int64_t>(whole.shape.size());
      if (is_in_one_piece(node) || (columns && !needs_dense[static_cast<size_t>(id)])) slice_in_place_[static_cast<size_t>(id)] = 1;
    }
  }

  // Rows that follow one another, or columns of a single row. A size of 1 is a constant, but in setup it may be that of the timesteps, which every
  // plan may change.
  bool is_in_one_piece(const Node& slice) const {
    return slice.phase == Phase::step && is_outermost(graph_[slice.inputs[0]].shape, axis_of_slice(slice));
  }

  int64_t axis_of_slice(const Node& slice) const {
    const auto rank = static_cast<int64_t>(graph_[slice.inputs[0]].shape.size());
    return (slice.attrs.integer("axis") + rank) % rank;
  }

  void look_into_whole(NodeId slice) {
    const Node& node = graph_[slice];
    const Shape& whole = graph_[node.inputs[0]].shape;
    const auto axis = static_cast<size_t>(axis_of_slice(node));
    PlanValue& value = plan_.values[static_cast<size_t>(slice)];
    value.inside = node.inputs[0];
    if (!is_in_one_piece(node)) value.pitch = whole.back();
    const int64_t entry = axis + 1 == whole.size() ? 1 : numel(whole) / std::max<int64_t>(1, whole[axis]);
    value.shift = slice_begin(node.attrs, whole, node.shape, axis) * entry * static_cast<int64_t>(dtype_size(node.dtype));
  }

  std::vector<PlacedNode> placed_nodes() const {
    std::vector<PlacedNode> nodes;
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const bool in_place = slice_in_place_[static_cast<size_t>(id)] != 0;
      nodes.push_back({in_place ? nullptr : choices_[static_cast<size_t>(id)].entry, is_free_view(graph_, graph_[id]), in_place});
    }
    return nodes;
  }

  void put_in_place(const PlacedPart& part) {
    for (NodeId id : part.values) plan_.values[static_cast<size_t>(id)].pitch = part.pitch;
    PlanValue& value = plan_.values[static_cast<size_t>(part.part)];
    value.inside = part.concat;
    value.shift = part.shift;
    ++joined_[static_cast<size_t>(part.concat)];
  }

  void lower(NodeId id) {
    const Node& node = graph_[id];
    if (is_free_view(graph_, node)) {
      plan_.values[static_cast<size_t>(id)].inside = node.inputs[0];
      plan_.views.push_back({node.op, node.attrs, {node.inputs.begin(), node.inputs.end()}, id});
      return;
    }
    const KernelChoice& choice = choices_[static_cast<size_t>(id)];
    // A slice read in place, a concat whose parts are all written in theirs: memory with a shape, and nothing to run.
    if (slice_in_place_[static_cast<size_t>(id)] || (node.op == Op::concat && joined_[static_cast<size_t>(id)] == node.inputs.size())) {
      plan_.views.push_back({node.op, node.attrs, {node.inputs.begin(), node.inputs.end()}, id});
      return;
    }
    PlanStep step{
        .op = node.op, .attrs = node.attrs, .in = {node.inputs.begin(), node.inputs.end()}, .out = id, .scope = node.scope, .line = node.line};
    const KernelEntry& entry = *choice.entry;
    step.kernel = entry.name;
    step.traits = entry.traits;
    step.tuning = choice.tuning;
    step.measured = choice.measured;
    step.refused = choice.refused;
    // What is prepared is so once, outside of every call.
    if (node.phase != Phase::prepare && ((entry.traits & kGraphBreak) || crosses(entry)) && !is_left_eager(node, options_))
      plan_.graph_breaks.push_back(graph_break(id, step));
    std::vector<PlanStep>& program = program_of(node.phase);
    if (crosses(entry)) {
      for (int32_t& in : step.in)
        if (in >= 0) in = on_host(in, step);
      step.out = host_value(id);
      program.push_back(step);
      program.push_back(copy_step(step.out, id, step));
      return;
    }
    if (choice.offer->packed)
      step.in[static_cast<size_t>(choice.offer->packed->input)] = pack(entry, *choice.offer->packed, node, static_cast<int32_t>(program.size()));
    program.push_back(std::move(step));
  }

  std::vector<PlanStep>& program_of(Phase phase) {
    return phase == Phase::prepare ? plan_.prepare : phase == Phase::setup ? plan_.setup : plan_.step;
  }

  // A value of the same type in the host's memory.
  int32_t host_value(int32_t v) {
    const PlanValue& like = plan_.values[static_cast<size_t>(v)];
    PlanValue value{.type = like.type, .where = like.where, .memory = Memory::host, .phase = like.phase};
    if (value.where == PlanValue::Where::weight) value.where = PlanValue::Where::constant;
    if (value.where == PlanValue::Where::constant) value.key = cat("host {", like.key, '}');
    plan_.values.push_back(std::move(value));
    return static_cast<int32_t>(plan_.values.size()) - 1;
  }

  PlanStep copy_step(int32_t from, int32_t to, const PlanStep& reader) const {
    return {.kernel = "copy", .op = Op::reshape, .in = {from}, .out = to, .scope = reader.scope, .line = reader.line, .copy = true};
  }

  // The host's copy of a value, made where the value is.
  int32_t on_host(int32_t v, const PlanStep& reader) {
    const auto [at, first] = on_host_.emplace(v, -1);
    if (!first) return at->second;
    at->second = host_value(v);
    program_of(plan_.values[static_cast<size_t>(v)].phase).push_back(copy_step(v, at->second, reader));
    return at->second;
  }

  // A break: node, the builder's line, and why no compiled kernel took it.
  std::string graph_break(NodeId id, const PlanStep& step) const {
    const Node& node = graph_[id];
    const std::string line = graph_.source_line(id);
    std::string reasons;
    for (const auto& [kernel, reason] : step.refused) reasons += cat(reasons.empty() ? "" : "; ", kernel, ": ", reason);
    return cat(op_name(node.op), " in ", node.scope.empty() ? "the graph" : node.scope, line.empty() ? "" : " (built at " + line + ")", " runs on ",
               step.kernel, crosses(*choices_[static_cast<size_t>(id)].entry) ? ", on the host: " : ", the reference: ",
               reasons.empty() ? "there is no other kernel for it" : reasons);
  }

  int32_t pack(const KernelEntry& entry, const PackedForm& form, const Node& node, int32_t consumer) {
    const int32_t source = node.inputs[static_cast<size_t>(form.input)];
    const PlanValue& from = plan_.values[static_cast<size_t>(source)];
    const std::string key = packed_key(form, from.key);
    for (size_t i = static_cast<size_t>(graph_.size()); i < plan_.values.size(); ++i)
      if (plan_.values[i].key == key) return static_cast<int32_t>(i);
    PlanValue value{.type = from.type, .where = PlanValue::Where::constant, .phase = Phase::prepare};
    value.key = key;
    const auto id = static_cast<int32_t>(plan_.values.size());
    plan_.values.push_back(std::move(value));
    plan_.constant_bytes += static_cast<int64_t>(form.bytes);
    if (node.phase == Phase::prepare) ++consumer;  // the packing step comes before it in the same program
    std::vector<int32_t> sources{source};
    if (form.scales >= 0) sources.push_back(node.inputs[static_cast<size_t>(form.scales)]);
    plan_.prepare.push_back({.kernel = std::string(entry.name),
                             .traits = entry.traits,
                             .op = node.op,
                             .attrs = node.attrs,
                             .in = std::move(sources),
                             .out = id,
                             .scope = node.scope,
                             .line = node.line,
                             .pack = true,
                             .consumer = consumer,
                             .consumer_phase = node.phase});
    return id;
  }

  void count_constants() {
    std::vector<uint8_t> read(plan_.values.size());
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program)
        for (int32_t in : step.in)
          if (in >= 0) read[static_cast<size_t>(in)] = 1;
    std::vector<uint8_t> packed(plan_.values.size());
    for (const PlanStep& step : plan_.prepare) packed[static_cast<size_t>(step.out)] = step.pack;
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      const PlanValue& value = plan_.values[v];
      if (read[v] && !packed[v] && value.where == PlanValue::Where::constant) plan_.constant_bytes += value.type.bytes();
    }
  }

  const Graph& graph_;
  Device& device_;
  const CompileOptions& options_;
  PlanAutotuning autotuning_;
  const std::vector<KernelChoice> choices_;  // by node
  std::vector<uint8_t> slice_in_place_;      // by node: no kernel, the readers look into the sliced value, at its columns with a pitch
  Plan plan_;
  std::map<int32_t, int32_t> on_host_;  // value -> its copy in the host's memory
  std::vector<size_t> joined_;          // by node: how many inputs of a concat are written in their place
};

}  // namespace

Plan lower(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request) {
  return Lowering(graph, device, options, tuning, request).run();
}

Plan compile(Graph graph, Device& device, const CompileOptions& options, TuningStore* tuning, Request* request) {
  Request own_request;
  if (!request) request = &own_request;
  PassReport report;
  graph = run_passes(std::move(graph), options, device.target(), &report, [&](std::string_view, const Graph&) { request->check(); });
  const Target target = device.target();
  const auto takes = [&](const Graph& g, const Node& node, uint8_t but) {
    const KernelCall call = call_of(g, node);
    return std::ranges::any_of(
        device.kernels(), [&](const KernelEntry& entry) { return entry.op == node.op && !(entry.traits & but) && entry.ask(call, target).offer; });
  };
  const auto supported = [&](const Graph& g, const Node& node) {
    if (node.op == Op::attention && !options.sdpa.all()) return true;  // refused with its reason rather than done in another way
    return takes(g, node, 0);
  };
  decompose_unsupported(graph, supported);
  widen_unsupported(graph, [&](const Graph& g, const Node& node) { return takes(g, node, kGraphBreak); });
  verify(graph, GraphStage::compiled);
  TuningStore own;
  Plan plan = lower(graph, device, options, tuning ? *tuning : own, *request);
  plan.pass_seconds = std::move(report.seconds);
  plan.regions = std::move(report.regions);
  plan.record = target.records && (options.mode == CompileMode::reduce_overhead || options.mode == CompileMode::max_autotune);
  if (options.fullgraph && !plan.graph_breaks.empty())
    throw UserError(cat("fullgraph: ", plan.graph_breaks.size(), " graph breaks, the first: ", plan.graph_breaks[0]));
  return plan;
}

}  // namespace vivace
