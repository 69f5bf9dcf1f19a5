// The last stage: a kernel for every node, packed constants, buffers, a Plan.
#include "compiler/lower.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/log.h"
#include "compiler/autotune.h"
#include "compiler/decompose_unsupported.h"
#include "compiler/place_parts.h"
#include "compiler/symbols.h"
#include "ops/positions.h"
#include "runtime/plan_memory.h"
#include "vivace/error.h"

namespace vivace {
namespace {

KernelCall call_of(const Graph& graph, const Node& node) {
  KernelCall call{.op = node.op, .attrs = &node.attrs, .in = {}, .out = {node.dtype, node.shape}};
  for (NodeId in : node.inputs)
    call.in.push_back(in == kNone ? std::nullopt : std::optional(Operand{graph[in].dtype, graph[in].shape, 0, graph[in].phase == Phase::prepare}));
  return call;
}

class Lowering {
 public:
  Lowering(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request)
      : graph_(graph), device_(device), options_(options), tuning_(tuning), request_(request) {}

  Plan run() {
    choices_.resize(graph_.nodes.size());
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op) && !is_free_view(graph_[id])) choices_[static_cast<size_t>(id)] = choose(graph_[id], call_of(graph_[id]));
    if (is_max_autotune(options_.mode)) tune();
    find_slices_in_place();
    Plan plain = assemble({});
    std::vector<PlacedPart> parts = place_parts(graph_, placed_nodes(), plain);
    // Where a part of the first axis begins depends on the sizes of those before it.
    if (options_.dynamic) std::erase_if(parts, [](const PlacedPart& part) { return part.pitch == 0; });
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
      if (choices_[static_cast<size_t>(id)].slice_in_place) look_into_whole(id);
    joined_.assign(graph_.nodes.size(), 0);
    for (const PlacedPart& part : parts) put_in_place(part);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op)) lower(id);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (graph_[id].op == Op::input)
        plan_.inputs.push_back({graph_[id].attrs.text("name"), id, parse_dims(graph_[id].attrs.text("dims")), graph_[id].attrs.text("state")});
    for (const auto& [name, id] : graph_.outputs) plan_.outputs.push_back({name, id, {}, ""});
    plan_.symbols = symbols_of(plan_, options_);
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

  KernelCall call_of(const Node& node) const { return vivace::call_of(graph_, node); }

  // Views of a value in the arena need no kernel: they are the same memory.
  bool is_free_view(const Node& node) const { return is_view(node.op) && node.phase != Phase::prepare && graph_[node.inputs[0]].phase == node.phase; }

  // A kernel whose operands are not where the others' are: what it reads and writes is copied.
  bool crosses(const KernelEntry& entry) const { return entry.memory == Memory::host && !device_.shares_host_memory(); }

  // Outside of what regional compilation compiles.
  bool is_left_eager(const Node& node) const { return !options_.regions.empty() && !node.region; }

  bool excluded_by_user(const KernelEntry& entry) const {
    for (const auto& [kind, backend] :
         {std::pair{"int8", SDPBackend::int8}, {"flash", SDPBackend::flash}, {"efficient", SDPBackend::efficient}, {"math", SDPBackend::math}})
      if (entry.kind == kind) return !options_.sdpa.allows(backend);
    return false;
  }

  struct Choice {
    const KernelEntry* entry = nullptr;
    std::shared_ptr<const Offer> offer;  // of the entry, without strides
    std::string tuning;
    std::vector<std::pair<std::string, std::string>> refused;
    std::vector<PlanCandidate> measured;
    bool slice_in_place = false;  // no kernel: the readers look into the sliced value, at its columns with a pitch
  };

  Choice choose(const Node& node, const KernelCall& call) const {
    Choice choice;
    for (const KernelEntry& entry : device_.kernels()) {
      if (entry.op != node.op) continue;
      if (excluded_by_user(entry)) {
        choice.refused.emplace_back(entry.name, "not among the attention backends asked for");
        continue;
      }
      if (Answer answer = entry.ask(call, target_); answer.offer) {
        choice.entry = &entry;
        choice.offer = std::move(answer.offer);
        return choice;
      } else {
        choice.refused.emplace_back(entry.name, std::move(answer.reason));
      }
    }
    std::string reasons;
    for (const auto& [kernel, reason] : choice.refused) reasons += cat("; ", kernel, ": ", reason);
    if (node.op == Op::attention && !options_.sdpa.all())
      throw UserError(
          cat("the attention in ", node.scope, " cannot run on a backend that was asked for (", sdp_backends_name(options_.sdpa), ")", reasons));
    throw InternalError(cat("no kernel for ", op_name(node.op), " in ", node.scope.empty() ? "the graph" : node.scope, " (built at ", node.file, ':',
                            node.line, ")", reasons));
  }

  bool fits_all_sizes(const Offer& offer) const { return !options_.dynamic || !offer.packed || !offer.packed->by_size; }

  // What may run instead of the list's choice: that first.
  std::vector<const KernelEntry*> candidates(NodeId id, const KernelCall& call, const KernelEntry* chosen, const std::vector<uint8_t>& parts) const {
    const Node& node = graph_[id];
    std::vector<const KernelEntry*> result{chosen};
    const bool writes_apart = chosen->strided_out && parts[static_cast<size_t>(id)];
    const bool reads_apart = chosen->strided_in && std::ranges::any_of(node.inputs, [&](NodeId in) {
                               return in != kNone && (graph_[in].op == Op::slice || parts[static_cast<size_t>(in)]);
                             });
    bool behind = false;
    for (const KernelEntry& entry : device_.kernels()) {
      // A kernel that wants dense rows would cost a copy of every slice that it reads, and of every part of a concat that it reads or writes.
      const bool copies = (reads_apart && !entry.strided_in) || (writes_apart && !entry.strided_out);
      if (behind && entry.op == node.op && !entry.plain && !excluded_by_user(entry) && !copies)
        if (const Answer answer = entry.ask(call, target_); answer.offer && fits_all_sizes(*answer.offer)) result.push_back(&entry);
      behind |= &entry == chosen;
    }
    return result;
  }

  // By node: whether it, or what it is a view of, may be written straight into a concat's buffer.
  std::vector<uint8_t> parts_of_concats() const {
    std::vector<uint8_t> parts(graph_.nodes.size());
    for (const Node& node : graph_.nodes) {
      if (node.op != Op::concat || !node.attrs.has("join")) continue;
      for (NodeId in : node.inputs) {
        while (!is_source(graph_[in].op) && is_free_view(graph_[in])) in = graph_[in].inputs[0];
        parts[static_cast<size_t>(in)] = 1;
      }
    }
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op) && is_free_view(graph_[id]) && parts[static_cast<size_t>(graph_[id].inputs[0])])
        parts[static_cast<size_t>(id)] = 1;
    return parts;
  }

  // Replaces the choices of the steps of the loop by what runs fastest. Equal calls are searched once.
  void tune() {
    std::map<std::string, size_t> known;  // signature -> request
    std::vector<TuningRequest> requests;
    std::vector<std::pair<NodeId, size_t>> asked;
    const std::vector<uint8_t> parts = parts_of_concats();
    const std::string machine = device_.target().text;
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_[id];
      const KernelEntry* chosen = choices_[static_cast<size_t>(id)].entry;
      if (!chosen || chosen->plain || node.phase != Phase::step || is_left_eager(node)) continue;
      TuningRequest request{.call = call_of(node), .candidates = candidates(id, call_of(node), chosen, parts)};
      if (request.candidates.size() == 1 && choices_[static_cast<size_t>(id)].offer->variants().empty()) continue;
      const auto [at, first] = known.emplace(tuning_key(request, options_.flags, machine), requests.size());
      if (first)
        requests.push_back(std::move(request));
      else
        ++requests[at->second].occurrences;
      asked.emplace_back(id, at->second);
    }
    const std::vector<TuningResult> results = autotune(requests, options_, tuning_, device_, request_);
    for (const auto& [id, request] : asked) {
      const TuningResult& result = results[request];
      autotuning_.calls += 1;
      autotuning_.seconds_each_call += result.seconds;
      autotuning_.settings_each_call += result.settings;
      if (result.measured.empty()) continue;
      Choice& choice = choices_[static_cast<size_t>(id)];
      choice.entry = device_.find(result.measured[0].kernel);
      choice.tuning = result.measured[0].tuning;
      KernelCall call = call_of(graph_[id]);
      call.tuning = choice.tuning;
      choice.offer = choice.entry->ask(call, target_).offer;
      choice.measured = result.measured;
    }
    for (const TuningResult& result : results) {
      autotuning_.different_calls += 1;
      autotuning_.timed += !result.measured.empty();
      autotuning_.seconds += result.seconds;
      autotuning_.settings += result.settings;
    }
  }

  // A slice of the last axis needs no copy when every reader can skip over the rest of the row, one that lies in one piece never does. Where that
  // begins depends on sizes, which must be those of the plan.
  void find_slices_in_place() {
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
      if (is_in_one_piece(node) || (columns && !needs_dense[static_cast<size_t>(id)])) choices_[static_cast<size_t>(id)].slice_in_place = true;
    }
  }

  // Rows that follow one another, or columns of a single row. In setup a size of 1 may be that of the timesteps, which every plan may change.
  bool is_in_one_piece(const Node& slice) const {
    return slice.phase == Phase::step && !options_.dynamic && is_outermost(graph_[slice.inputs[0]].shape, axis_of_slice(slice));
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
    for (NodeId id = 0; id < graph_.size(); ++id)
      nodes.push_back({choices_[static_cast<size_t>(id)].slice_in_place ? nullptr : choices_[static_cast<size_t>(id)].entry, is_free_view(graph_[id]),
                       choices_[static_cast<size_t>(id)].slice_in_place});
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
    if (is_free_view(node)) {
      plan_.values[static_cast<size_t>(id)].inside = node.inputs[0];
      plan_.views.push_back({node.op, node.attrs, {node.inputs.begin(), node.inputs.end()}, id});
      return;
    }
    const Choice& choice = choices_[static_cast<size_t>(id)];
    // A slice read in place, a concat whose parts are all written in theirs: memory with a shape, and nothing to run.
    if (choice.slice_in_place || (node.op == Op::concat && joined_[static_cast<size_t>(id)] == node.inputs.size())) {
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
    if (((entry.traits & kGraphBreak) || crosses(entry)) && !is_left_eager(node)) plan_.graph_breaks.push_back(graph_break(id, step));
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
  const Target target_ = device_.target();
  const CompileOptions& options_;
  TuningStore& tuning_;
  Request& request_;
  PlanAutotuning autotuning_;
  Plan plan_;
  std::map<int32_t, int32_t> on_host_;  // value -> its copy in the host's memory
  std::vector<Choice> choices_;         // by node
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
  const auto supported = [&](const Graph& g, const Node& node) {
    if (node.op == Op::attention && !options.sdpa.all()) return true;  // refused with its reason rather than done in another way
    const KernelCall call = call_of(g, node);
    return std::ranges::any_of(device.kernels(), [&](const KernelEntry& entry) { return entry.op == node.op && entry.ask(call, target).offer; });
  };
  decompose_unsupported(graph, supported);
  verify(graph, GraphStage::compiled);
  TuningStore own;
  Plan plan = lower(graph, device, options, tuning ? *tuning : own, *request);
  plan.pass_seconds = std::move(report.seconds);
  plan.regions = std::move(report.regions);
  if (options.fullgraph && !plan.graph_breaks.empty())
    throw UserError(cat("fullgraph: ", plan.graph_breaks.size(), " graph breaks, the first: ", plan.graph_breaks[0]));
  return plan;
}

}  // namespace vivace
