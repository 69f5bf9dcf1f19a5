#include "ops/builder.h"

#include "ops/infer.h"

namespace vivace {

Builder::Scope::Scope(Builder& b, std::string_view name, std::string_view block_class) : builder_(b), previous_(b.prefix_.size()) {
  if (!b.prefix_.empty() && !name.empty()) b.prefix_ += '.';
  b.prefix_ += name;
  if (!block_class.empty()) b.graph_.block_classes[b.prefix_] = block_class;
}

Builder::Scope::~Scope() { builder_.prefix_.resize(previous_); }

Value Builder::input(std::string_view name, DType dtype, Shape shape, Phase phase, std::string_view dims, Here here) {
  Node node{.op = Op::input, .inputs = {}, .attrs = {{"name", std::string(name)}}, .dtype = dtype, .shape = std::move(shape), .scope = prefix_};
  if (!dims.empty()) node.attrs.set("dims", std::string(dims));
  node.file = here.file_name();
  node.line = static_cast<int>(here.line());
  node.phase = phase;
  return {graph_.add(std::move(node))};
}

void Builder::state(Value memory, std::string_view name, Value next) {
  graph_[memory.id].attrs.set("state", std::string(name));
  output(name, next);
}

Value Builder::weight(std::string_view name, Shape shape, Here here) {
  const std::string full = prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  Node node{.op = Op::weight,
            .inputs = {},
            .attrs = {{"name", full}},
            .dtype = weight_dtype_ ? weight_dtype_(full) : DType::float32,
            .shape = std::move(shape),
            .scope = prefix_};
  node.file = here.file_name();
  node.line = static_cast<int>(here.line());
  node.phase = Phase::prepare;
  return {graph_.add(std::move(node))};
}

Value Builder::fill(Shape shape, DType dtype, double value, Here here) {
  Node node{.op = Op::fill, .inputs = {}, .attrs = {{"value", value}}, .dtype = dtype, .shape = std::move(shape), .scope = prefix_};
  node.file = here.file_name();
  node.line = static_cast<int>(here.line());
  node.phase = Phase::prepare;
  return {graph_.add(std::move(node))};
}

Value Builder::emit(Op op, std::initializer_list<Value> inputs, Attrs attrs, Here here) {
  return emit(op, std::vector<Value>(inputs), std::move(attrs), here);
}

Value Builder::emit(Op op, const std::vector<Value>& inputs, Attrs attrs, Here here) {
  Node node;
  node.op = op;
  node.attrs = std::move(attrs);
  node.scope = prefix_;
  node.file = here.file_name();
  node.line = static_cast<int>(here.line());
  for (Value v : inputs) node.inputs.push_back(v.id);
  while (!node.inputs.empty() && node.inputs.back() == kNone) node.inputs.pop_back();
  // Everything runs at every step until a pass finds out better; only what depends on weights alone is prepared.
  node.phase = Phase::prepare;
  for (NodeId in : node.inputs)
    if (in != kNone && graph_[in].phase != Phase::prepare) node.phase = Phase::step;
  TensorType type = infer(graph_, node);
  node.dtype = type.dtype;
  node.shape = std::move(type.shape);
  return {graph_.add(std::move(node))};
}

Value Builder::cast(Value x, DType to, Here here) {
  if (node(x).dtype == to) return x;
  return emit(Op::cast, {x}, {{"to", std::string(dtype_name(to))}}, here);
}

Value Builder::activation(Value x, std::string_view act, Here here) {
  if (act.empty()) return x;
  return emit(*find_op(act), {x}, {}, here);
}

Value Builder::attention(Value q, Value k, Value v, Value mask, int64_t heads, double scale, bool causal, Here here) {
  return emit(Op::attention, {q, k, v, mask}, {{"heads", heads}, {"scale", scale}, {"causal", int64_t{causal}}}, here);
}

}  // namespace vivace
