// Component: one model of a checkpoint with its weights, and a session for each way it has been called.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "ops/builder.h"
#include "runtime/session.h"
#include "vivace/compile.h"
#include "weights/weight_map.h"

namespace vivace {

class Component {
 public:
  // `name` is the component's folder, for messages: "unet".
  Component(std::string name, WeightMap weights, DType dtype, CompileOptions options);
  virtual ~Component() = default;

  const std::string& name() const { return name_; }
  const WeightMap& weights() const { return weights_; }
  DType dtype() const { return dtype_; }
  const CompileOptions& options() const { return options_; }

  using BuildGraph = std::function<Graph(Builder)>;
  // The session for `key`; compiled and bound at the first call. A key stands for one graph: function and shapes.
  Session& session(const std::string& key, DType dtype, const BuildGraph& build);
  // Forgets the sessions; prepared weights stay.
  void compile(const CompileOptions& options);
  // Adds to options().quantize, now and after every later compile(). Forgets the sessions.
  void quantize(const std::map<std::string, Quantization>& layers);
  // The graph `build` makes of this component, before any pass.
  Graph graph(DType dtype, const BuildGraph& build) const;
  Plan plan(DType dtype, const BuildGraph& build) const;

  // The graph at the model's own size, which filters look at and measurements take for typical. InternalError where set_typical was not called.
  Graph typical_graph() const;

  // Throws one UserError that names every tensor that the graphs need and the checkpoint lacks, and the reverse.
  void check_weights(std::initializer_list<Graph> graphs) const;
  size_t constant_bytes() const { return store_.bytes(); }
  size_t arena_bytes() const;
  double seconds_compiling() const { return seconds_compiling_; }
  double seconds_preparing() const { return seconds_preparing_; }

 protected:
  void set_typical(BuildGraph build) { typical_ = std::move(build); }

 private:
  void release_weight(const std::string& name) const;

  std::string name_;
  WeightMap weights_;
  DType dtype_;
  CompileOptions options_;
  std::map<std::string, Quantization> quantization_;
  BuildGraph typical_;
  ConstantStore store_;
  std::map<std::string, std::unique_ptr<Session>> sessions_;
  double seconds_compiling_ = 0, seconds_preparing_ = 0;
};

}  // namespace vivace
