// Builder: writes a Graph, one method an op. Shapes and dtypes follow from the rules in infer.h.
#pragma once

#include <functional>
#include <source_location>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace vivace {

// A handle on a node; the model builders pass these around.
struct Value {
  NodeId id = kNone;
  explicit operator bool() const { return id != kNone; }
};

class Builder {
 public:
  // `weight_dtype` says in which dtype the checkpoint stores a tensor; float32 without it.
  using WeightDtype = std::function<DType(const std::string& name)>;
  explicit Builder(DType dtype, WeightDtype weight_dtype = nullptr) : dtype_(dtype), weight_dtype_(std::move(weight_dtype)) {}

  // The dtype activations have.
  DType dtype() const { return dtype_; }
  const Node& node(Value v) const { return graph_[v.id]; }
  const Shape& shape(Value v) const { return graph_[v.id].shape; }
  int64_t channels(Value v) const { return graph_[v.id].shape.back(); }

  // While the returned object lives, weights and nodes are named below `name`: "down_blocks.0" + "." + ... `block_class` says what stands there,
  // where it has a name that users may ask for it by: "BasicTransformerBlock".
  class Scope {
   public:
    Scope(Builder& b, std::string_view name, std::string_view block_class);
    ~Scope();
    Scope(const Scope&) = delete;

   private:
    Builder& builder_;
    size_t previous_;
  };
  [[nodiscard]] Scope scope(std::string_view name, std::string_view block_class = "") { return Scope(*this, name, block_class); }

  using Here = std::source_location;
  // `dims` names the dimensions whose sizes a call chooses: "batch,4*height,4*width,_" (compiler/symbols.h).
  Value input(std::string_view name, DType dtype, Shape shape, Phase phase = Phase::step, std::string_view dims = "", Here here = Here::current());
  // A checkpoint tensor named scope + "." + name, as stored.
  Value weight(std::string_view name, Shape shape, Here here = Here::current());
  Value fill(Shape shape, DType dtype, double value, Here here = Here::current());
  // A source node of another graph.
  Value copy(const Node& source) { return {graph_.add(source)}; }
  void output(std::string_view name, Value v) { graph_.outputs.emplace_back(name, v.id); }

  // A state, which lives from one run of the step to the next: once a step is done the input `memory` takes over what `next` is, an output of that
  // name.
  void state(Value memory, std::string_view name, Value next);

  // Any op; the typed methods below are this with names.
  Value emit(Op op, std::initializer_list<Value> inputs, Attrs attrs = {}, Here here = Here::current());
  Value emit(Op op, const std::vector<Value>& inputs, Attrs attrs = {}, Here here = Here::current());

  Value cast(Value x, DType to, Here here = Here::current());  // x itself when it has that dtype
  Value add(Value a, Value b, Here here = Here::current()) { return emit(Op::add, {a, b}, {}, here); }
  Value mul(Value a, Value b, Here here = Here::current()) { return emit(Op::mul, {a, b}, {}, here); }
  Value affine(Value x, double scale, double shift, Here here = Here::current()) {
    return emit(Op::affine, {x}, {{"scale", scale}, {"shift", shift}}, here);
  }
  // act is an op name ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu") or "" for x itself.
  Value activation(Value x, std::string_view act, Here here = Here::current());
  Value conv2d(Value x, Value w, Value bias, int64_t stride, std::vector<int64_t> padding, Here here = Here::current()) {
    return emit(Op::conv2d, {x, w, bias}, {{"stride", stride}, {"padding", std::move(padding)}}, here);
  }
  Value concat(const std::vector<Value>& parts, int64_t axis, Here here = Here::current()) { return emit(Op::concat, parts, {{"axis", axis}}, here); }
  Value slice(Value x, int64_t axis, int64_t begin, int64_t end, Here here = Here::current()) {
    return emit(Op::slice, {x}, {{"axis", axis}, {"begin", begin}, {"end", end}}, here);
  }
  Value reshape(Value x, std::vector<int64_t> shape, Here here = Here::current()) {
    return emit(Op::reshape, {x}, {{"shape", std::move(shape)}}, here);
  }
  Value transpose(Value x, std::vector<int64_t> perm, Here here = Here::current()) {
    return emit(Op::transpose, {x}, {{"perm", std::move(perm)}}, here);
  }
  Value flatten_hw(Value x, Here here = Here::current()) { return emit(Op::flatten_hw, {x}, {}, here); }
  Value unflatten_hw(Value x, Value like, Here here = Here::current()) { return emit(Op::unflatten_hw, {x, like}, {}, here); }
  // mask may be absent.
  Value attention(Value q, Value k, Value v, Value mask, int64_t heads, double scale, bool causal, Here here = Here::current());

  // The graph, finished. The builder is empty afterwards.
  Graph take() { return std::move(graph_); }

 private:
  DType dtype_;
  WeightDtype weight_dtype_;
  Graph graph_;
  std::string prefix_;
};

}  // namespace vivace
