#include <algorithm>
#include <numeric>
#include <optional>

#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

class Folding {
 public:
  explicit Folding(Graph& graph) : graph_(graph), same_(graph.nodes.size()) { std::iota(same_.begin(), same_.end(), NodeId{0}); }

  void run() {
    // In order, so that a chain folds into its beginning.
    for (NodeId id = 0; id < graph_.size(); ++id) {
      Node& node = graph_[id];
      for (NodeId& in : node.inputs)
        if (in != kNone) in = same_as(in);
      if (node.inputs.empty()) continue;
      combine(node);
      if (const NodeId value = identity(node); value != kNone) same_[static_cast<size_t>(id)] = value;
    }
    for (auto& [name, id] : graph_.outputs) id = same_as(id);
    graph_.normalize();
  }

 private:
  const Node& input(const Node& node, size_t i = 0) const { return graph_[node.inputs[i]]; }

  NodeId same_as(NodeId id) const { return same_[static_cast<size_t>(id)]; }

  // The number that a constant filled tensor repeats.
  std::optional<double> number(NodeId id) const { return graph_[id].op == Op::fill ? std::optional(graph_[id].attrs.real("value")) : std::nullopt; }

  // Nothing of `from` is lost in `to`.
  static bool widens(DType from, DType to) { return to == DType::float32 && (from == DType::float16 || from == DType::bfloat16); }

  // The value that the node only repeats, or kNone.
  NodeId identity(const Node& node) const {
    const Node& x = input(node);
    const bool same_type = x.dtype == node.dtype && x.shape == node.shape;
    if (!same_type) return kNone;
    const auto is = [&](NodeId id, double value) { return number(id) == value; };
    bool nothing = false;
    switch (node.op) {
      case Op::cast:
      case Op::flatten_hw:
      case Op::unflatten_hw:
      case Op::reshape:
        nothing = true;
        break;
      case Op::slice:
        nothing = node.attrs.integer("axis") == -1;
        break;  // on another axis the size may be another in the next call
      case Op::concat:
        nothing = node.inputs.size() == 1;
        break;
      case Op::affine:
        nothing = node.attrs.real("scale", 1) == 1 && node.attrs.real("shift") == 0;
        break;
      case Op::transpose:
        nothing = std::ranges::is_sorted(node.attrs.integers("perm"));
        break;
      case Op::add:
      case Op::sub:
        nothing = is(node.inputs[1], 0);
        break;
      case Op::mul:
      case Op::div:
        nothing = is(node.inputs[1], 1);
        break;
      default:
        break;
    }
    return nothing ? node.inputs[0] : kNone;
  }

  // The node reads past its input where both together are one op, or is computed where its input is a number.
  void combine(Node& node) {
    if (node.op == Op::add || node.op == Op::mul) constant_operand(node);
    const Node& x = input(node);
    if (x.op == Op::fill && (node.op == Op::cast || node.op == Op::reshape || node.op == Op::affine)) return fold_fill(node, x);
    if (node.op != x.op && !(node.op == Op::unflatten_hw && x.op == Op::flatten_hw) && !(node.op == Op::flatten_hw && x.op == Op::unflatten_hw))
      return;
    switch (node.op) {
      case Op::cast:
        if (widens(input(x).dtype, x.dtype)) node.inputs[0] = x.inputs[0];
        break;
      case Op::reshape:
      case Op::flatten_hw:
      case Op::unflatten_hw:
        // There and back again; any other chain of views costs nothing.
        if (input(x).shape == node.shape) node.inputs[0] = x.inputs[0], as_cast(node);
        break;
      case Op::affine: {
        if (node.dtype != DType::float32 || x.dtype != DType::float32) break;  // a narrow value between is rounded
        const double scale = node.attrs.real("scale", 1), shift = node.attrs.real("shift");
        node.attrs.set("shift", x.attrs.real("shift") * scale + shift);
        node.attrs.set("scale", x.attrs.real("scale", 1) * scale);
        node.inputs[0] = x.inputs[0];
        break;
      }
      case Op::transpose: {
        const auto &first = x.attrs.integers("perm"), &second = node.attrs.integers("perm");
        std::vector<int64_t> perm;
        perm.reserve(second.size());
        for (int64_t p : second) perm.push_back(first[static_cast<size_t>(p)]);
        node.attrs.set("perm", perm);
        node.inputs[0] = x.inputs[0];
        break;
      }
      default:
        break;
    }
  }

  // The identity, which identity() then removes.
  static void as_cast(Node& node) {
    node.op = Op::cast;
    node.inputs.resize(1);
    node.attrs = {{"to", std::string(dtype_name(node.dtype))}};
  }

  // x * c and x + c with a number c that every element shares.
  void constant_operand(Node& node) {
    if (number(node.inputs[0]) && !number(node.inputs[1])) std::swap(node.inputs[0], node.inputs[1]);
    const auto c = number(node.inputs[1]);
    const Node& x = input(node);
    if (!c || x.op == Op::fill || x.shape != node.shape || x.dtype != node.dtype) return;
    node.attrs = {{"scale", node.op == Op::mul ? *c : 1.0}, {"shift", node.op == Op::mul ? 0.0 : *c}};
    node.op = Op::affine;
    node.inputs.resize(1);
  }

  static void fold_fill(Node& node, const Node& x) {
    double value = x.attrs.real("value");
    if (node.op == Op::affine) value = value * node.attrs.real("scale", 1) + node.attrs.real("shift");
    node.op = Op::fill;
    node.inputs.clear();
    node.attrs = {{"value", value}};
    node.phase = Phase::prepare;
  }

  Graph& graph_;
  std::vector<NodeId> same_;  // by node: the value that it only repeats, or itself
};

}  // namespace

void fold_constants(Graph& graph) { Folding(graph).run(); }

}  // namespace vivace
