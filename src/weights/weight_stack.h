// What a model's weights are: tensors of the checkpoint's files, and layers over them that say otherwise of some (other names, narrower storage,
// adapters). A weight is an expression in plain ops over stored tensors, which `prepare` runs: renaming, slicing, widening and merging have no code
// of their own, and a prepared weight is known by what it was made of.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/builder.h"
#include "weights/weight_map.h"
#include "weights/weight_origins.h"
#include "weights/weight_source.h"

namespace vivace {

// Bytes that a weight node stands for: a tensor of a file, a part of one, or a few numbers of a layer's own.
struct StoredTensor {
  WeightInfo info;
  const FileMap* map = nullptr;       // that they lie in; nullptr: memory of `owner`
  std::shared_ptr<const void> owner;  // keeps them
  std::function<Hash128()> origin;    // equal ones have equal bytes
  bool replaceable = false;           // WeightSource::replaceable
};
// A tensor of that file, whose origins are these; one of a layer's own.
StoredTensor stored(std::shared_ptr<const WeightOrigins> origins, const WeightInfo& tensor);
StoredTensor stored(const Tensor& tensor);

// A weight as a model reads it.
struct ModelWeight {
  DType dtype = DType::float32;
  Shape shape;
  std::vector<StoredTensor> parts;  // what it is made of
  using Make = std::function<Value(Builder& b, std::span<const Value> parts)>;
  Make make;  // empty: the one part is it, as stored
};
ModelWeight as_stored(StoredTensor tensor);
// Made of other weights (what lies beneath, and tensors of the layer's own), which `make` gets as nodes in this order. What it emits must have this
// dtype and shape, and depend on nothing but the types of the weights and what WeightLayer::structure says.
ModelWeight made_of(std::vector<ModelWeight> weights, DType dtype, Shape shape, ModelWeight::Make make);
// Of a weight that is as stored, in blocks: the values, float32.
ModelWeight widened(const ModelWeight& blocks, BlockFormat format);
// Its rows [begin, end) along the first axis. Where it is as stored, so are they, where they lie.
ModelWeight rows(const ModelWeight& weight, int64_t begin, int64_t end);

// Immutable, shared between stacks.
class WeightLayer {
 public:
  virtual ~WeightLayer() = default;
  // The weight `name` of the model over what lies beneath, which may have other names; nullopt where there is none. A layer gives below(name) where
  // it has nothing to say of it. Pure: the answer is remembered. Throws UserError naming file, tensor and shapes.
  using Below = std::function<std::optional<ModelWeight>(std::string_view name)>;
  virtual std::optional<ModelWeight> find(std::string_view name, const Below& below) const = 0;
  // What plans depend on besides the files' names, dtypes and shapes: which weights are made how, of parts of which types; not what those hold.
  virtual std::string structure() const = 0;
};
using WeightLayers = std::vector<std::shared_ptr<const WeightLayer>>;  // the lowest first

// A value; copies share everything.
class WeightStack {
 public:
  WeightStack() : WeightStack(WeightMap(), CacheFolder()) {}
  WeightStack(WeightMap files, CacheFolder cache);
  // The same with these layers on top.
  WeightStack over(const WeightLayers& layers) const;

  const WeightMap& files() const { return *files_; }
  const std::shared_ptr<const WeightOrigins>& origins() const { return origins_; }  // of the files' tensors
  // Any thread may ask. The reference stays as long as the stack. nullptr where there is none.
  const ModelWeight* find(std::string_view name) const;
  // The bytes of a weight that is as stored; nullptr for others, and where there is none.
  const WeightInfo* find_stored(std::string_view name) const;
  // Whether a file has tensors at all.
  bool empty() const { return files_->size() == 0; }
  // Empty without layers.
  std::string structure() const;

  // The weight that a node stands for, as nodes of `b`: a copy of `weight` where it is as stored. The nodes that stand for its parts are named after
  // it: "mid_block.proj_in.weight.0", "....1".
  Value build(Builder& b, const Node& weight) const;
  // By the names of the nodes that build() has made.
  WeightSource source() const;

  // Throws one UserError that names all weights that are missing or of another shape, and beside them the files' tensors that none of the expected is
  // made of (long lists are cut after 12). Such ones alone are a warning, as in Diffusers; false then. Nothing is said of those whose name ends in
  // "position_ids" (a buffer that old transformers saved) or matches an entry of `ignored`: the whole name, or its beginning where the entry ends in
  // ".".
  bool check(std::span<const ExpectedWeight> expected, std::span<const std::string> ignored = {}) const;

 private:
  struct Found;  // what was asked for, by name
  std::optional<ModelWeight> find_under(size_t layers, std::string_view name) const;
  const StoredTensor& part(const std::string& node) const;

  std::shared_ptr<const WeightMap> files_;
  std::shared_ptr<const WeightOrigins> origins_;
  WeightLayers layers_;
  std::shared_ptr<Found> found_;
};

}  // namespace vivace
