#include "compiler/choose_kernels.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "compiler/autotune.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class Choosing {
 public:
  Choosing(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request, PlanAutotuning& autotuning)
      : graph_(graph), device_(device), options_(options), tuning_(tuning), request_(request), autotuning_(autotuning) {}

  std::vector<KernelChoice> run() {
    choices_.resize(graph_.nodes.size());
    if (!device_.shares_host_memory()) ask_at_once();
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op) && !is_free_view(graph_, graph_[id]))
        choices_[static_cast<size_t>(id)] = choose(graph_[id], call_of(graph_, graph_[id]));
    if (is_max_autotune(options_.mode)) tune();
    return std::move(choices_);
  }

 private:
  bool excluded_by_user(const KernelEntry& entry) const {
    for (const auto& [kind, backend] :
         {std::pair{"int8", SDPBackend::int8}, {"flash", SDPBackend::flash}, {"efficient", SDPBackend::efficient}, {"math", SDPBackend::math}})
      if (entry.kind == kind) return !options_.sdpa.allows(backend);
    return false;
  }

  // A library of a device may compile for seconds before it answers, and knows the answer from then on: all different calls are asked together.
  void ask_at_once() const {
    std::map<std::string, NodeId> different;
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op) && !is_free_view(graph_, graph_[id])) different.try_emplace(call_text(call_of(graph_, graph_[id])), id);
    std::vector<NodeId> ids;
    ids.reserve(different.size());
    for (const auto& [text, id] : different) ids.push_back(id);
    std::ranges::sort(ids);
    std::atomic<size_t> next = 0;
    const auto ask = [&] {
      for (size_t i; (i = next++) < ids.size();) try {
          choose(graph_[ids[i]], call_of(graph_, graph_[ids[i]]));
        } catch (const std::exception&) {  // which comes again
        }
    };
    std::vector<std::jthread> others;
    try {
      while (others.size() + 1 < std::min<size_t>(std::thread::hardware_concurrency(), ids.size())) others.emplace_back(ask);
    } catch (const std::system_error&) {  // there are no more threads to be had
    }
    ask();
  }

  KernelChoice choose(const Node& node, const KernelCall& call) const {
    KernelChoice choice;
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
        while (!is_source(graph_[in].op) && is_free_view(graph_, graph_[in])) in = graph_[in].inputs[0];
        parts[static_cast<size_t>(in)] = 1;
      }
    }
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!is_source(graph_[id].op) && is_free_view(graph_, graph_[id]) && parts[static_cast<size_t>(graph_[id].inputs[0])])
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
      if (!chosen || chosen->plain || node.phase != Phase::step || is_left_eager(node, options_)) continue;
      TuningRequest request{.call = call_of(graph_, node), .candidates = candidates(id, call_of(graph_, node), chosen, parts)};
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
      KernelChoice& choice = choices_[static_cast<size_t>(id)];
      choice.entry = device_.find(result.measured[0].kernel);
      choice.tuning = result.measured[0].tuning;
      KernelCall call = call_of(graph_, graph_[id]);
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

  const Graph& graph_;
  Device& device_;
  const Target target_ = device_.target();
  const CompileOptions& options_;
  TuningStore& tuning_;
  Request& request_;
  PlanAutotuning& autotuning_;
  std::vector<KernelChoice> choices_;
};

}  // namespace

KernelCall call_of(const Graph& graph, const Node& node) {
  KernelCall call{.op = node.op, .attrs = &node.attrs, .in = {}, .out = {node.dtype, node.shape}};
  for (NodeId in : node.inputs)
    call.in.push_back(in == kNone ? std::nullopt : std::optional(Operand{graph[in].dtype, graph[in].shape, 0, graph[in].phase == Phase::prepare}));
  return call;
}

bool is_free_view(const Graph& graph, const Node& node) {
  return is_view(node.op) && node.phase != Phase::prepare && graph[node.inputs[0]].phase == node.phase;
}

bool is_left_eager(const Node& node, const CompileOptions& options) { return !options.regions.empty() && !node.region; }

std::vector<KernelChoice> choose_kernels(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request,
                                         PlanAutotuning& autotuning) {
  return Choosing(graph, device, options, tuning, request, autotuning).run();
}

}  // namespace vivace
