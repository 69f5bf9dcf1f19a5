#include "ops/infer.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

constexpr size_t kLinearResidual = 3, kGate = 5, kImageBias = 3, kConvResidual = 4, kConv3dResidual = 3;

class EpilogueFusion {
 public:
  EpilogueFusion(Graph& graph, const Target& target) : graph_(graph), target_(target), counts_(graph.use_counts()) {}

  void run() {
    // One sweep in order is enough: a fused node is looked at again by what follows it.
    const NodeId count = graph_.size();
    for (NodeId id = 0; id < count; ++id) {
      const Op op = graph_[id].op;
      if (op == Op::silu || op == Op::gelu || op == Op::gelu_tanh || op == Op::quick_gelu || op == Op::relu) fuse_activation(id);
      if (op == Op::mul && target_.gates) fuse_gate(id);
      if (op == Op::add) fuse_add(id);
    }
    graph_.normalize();
  }

 private:
  bool only_reader_is_next(NodeId id) const { return id != kNone && counts_[static_cast<size_t>(id)] == 1; }
  bool is_bare(const Node& n) const {
    return !n.attrs.has("act") && input_or_none(n, residual_slot(n.op)) == kNone && (n.op != Op::linear || input_or_none(n, kGate) == kNone);
  }
  static size_t residual_slot(Op op) { return op == Op::linear ? kLinearResidual : op == Op::conv3d ? kConv3dResidual : kConvResidual; }
  static bool has_epilogue(Op op) { return op == Op::linear || op == Op::conv2d || op == Op::conv3d; }

  NodeId append(Node node) {
    counts_.push_back(1);
    return graph_.add(std::move(node));
  }

  void fuse_activation(NodeId id) {
    const NodeId from = graph_[id].inputs[0];
    if (!only_reader_is_next(from) || !has_epilogue(graph_[from].op) || !is_bare(graph_[from])) return;
    const Node producer = graph_[from];
    const std::string act(op_name(graph_[id].op));
    take_over(graph_[id], producer);
    graph_[id].attrs.set("act", act);
  }

  // linear * gate, a vector for each image.
  void fuse_gate(NodeId id) {
    for (size_t side : {0, 1}) {
      const NodeId from = graph_[id].inputs[side], gate = graph_[id].inputs[1 - side];
      if (!only_reader_is_next(from) || graph_[from].op != Op::linear || !is_bare(graph_[from])) continue;
      if (!is_of_images(graph_[gate].shape, graph_[from].shape) || graph_[gate].dtype != graph_[from].dtype) continue;
      const Node linear = graph_[from];
      take_over(graph_[id], linear);
      set_input(graph_[id], kGate, gate);
      return;
    }
  }

  void fuse_add(NodeId id) {
    for (size_t side : {0, 1}) {
      const NodeId from = graph_[id].inputs[side], other = graph_[id].inputs[1 - side];
      if (from == other || !only_reader_is_next(from)) continue;
      if (fuse_image_bias(id, from, other) || fuse_residual(id, from, other) || fuse_residual_behind_view(id, from, other)) return;
    }
  }

  // conv + t with t [N or 1, 1, 1, C], usually a reshape of the time embedding's [N, C].
  bool fuse_image_bias(NodeId id, NodeId from, NodeId other) {
    const Node conv = graph_[from], bias = graph_[other];
    if (conv.op != Op::conv2d || conv.shape.size() != 4 || !is_bare(conv) || input_or_none(conv, kImageBias) != kNone) return false;
    const Shape& s = bias.shape;
    if (s.size() != 4 || s[1] != 1 || s[2] != 1 || s[3] != conv.shape[3] || (s[0] != 1 && s[0] != conv.shape[0])) return false;
    Node flat = bias;
    flat.op = Op::reshape;
    flat.inputs = {other};
    flat.attrs = {{"shape", std::vector<int64_t>{0, -1}}};
    flat.shape = {s[0], s[3]};
    NodeId rows = append(flat);
    if (bias.dtype != DType::float32) {
      Node cast = flat;
      cast.op = Op::cast;
      cast.inputs = {rows};
      cast.attrs = {{"to", "float32"}};
      cast.dtype = DType::float32;
      rows = append(cast);
    }
    if (s[0] != conv.shape[0]) {  // one row for all images
      Node expand = graph_[rows];
      expand.op = Op::expand_rows;
      expand.inputs = {rows, conv.inputs[0]};
      expand.attrs = {};
      expand.shape[0] = conv.shape[0];
      rows = append(expand);
    }
    take_over(graph_[id], conv);
    set_input(graph_[id], kImageBias, rows);
    return true;
  }

  bool fuse_residual(NodeId id, NodeId from, NodeId other) {
    const Node producer = graph_[from];
    if (!has_epilogue(producer.op) || input_or_none(producer, residual_slot(producer.op)) != kNone) return false;
    if (graph_[other].shape != producer.shape || graph_[other].dtype != producer.dtype) return false;
    take_over(graph_[id], producer);
    set_input(graph_[id], residual_slot(producer.op), other);
    return true;
  }

  // unflatten_hw(linear(x)) + r: the residual is flattened instead, which costs nothing.
  bool fuse_residual_behind_view(NodeId id, NodeId view, NodeId other) {
    if (graph_[view].op != Op::unflatten_hw) return false;
    const NodeId from = graph_[view].inputs[0];
    if (!only_reader_is_next(from) || graph_[from].op != Op::linear || input_or_none(graph_[from], kLinearResidual) != kNone) return false;
    if (graph_[other].shape != graph_[view].shape || graph_[other].dtype != graph_[view].dtype) return false;
    Node flat = graph_[view];
    flat.op = Op::flatten_hw;
    flat.inputs = {other};
    flat.attrs = {};
    flat.shape = graph_[from].shape;
    const NodeId residual = append(flat);
    Node linear = graph_[from];
    set_input(linear, kLinearResidual, residual);
    const NodeId fused = append(linear);
    Node& out = graph_[id];
    const Node unflatten = graph_[view];
    take_over(out, unflatten);
    out.inputs[0] = fused;
    return true;
  }

  Graph& graph_;
  const Target& target_;
  std::vector<int> counts_;
};

}  // namespace

void fuse_epilogues(Graph& graph, const Target& target) {
  if (target.epilogues) EpilogueFusion(graph, target).run();
}

}  // namespace vivace
