// All weights of one model component by name, memory-mapped: one safetensors file, or several with an index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vivace/tensor.h"
#include "weights/tensor_file.h"

namespace vivace {

struct ExpectedWeight {
  std::string name;
  Shape shape;
};

// Immutable; copies share the mappings.
class WeightMap {
 public:
  // Opens a component of a checkpoint in Diffusers layout, or a file: safetensors, or GGUF. In a folder these are tried, with <w> being
  // diffusion_pytorch_model (Diffusers) and model (transformers), first for `variant` ("fp16"), when one is given, then without:
  //   <w>[.variant].safetensors, <w>.safetensors.index[.variant].json and the index name older releases of Diffusers wrote.
  // Attention weights under the names that Diffusers used before 0.15 (query, key, value, proj_attn) get their present ones, those of a text encoder
  // the prefix text_model. that some releases of transformers leave out.
  // Throws UserError: no such folder, no weights (with what was found instead: another variant, .bin files), a missing shard,
  // tensors that the index promises and a shard lacks (all named), a damaged file.
  static WeightMap open(const std::filesystem::path& path, std::string_view variant = "");

  // nullptr when there is no such tensor.
  const WeightInfo* find(std::string_view name) const;
  // Throws UserError when there is none.
  const WeightInfo& at(std::string_view name) const;
  // Of the tensors whose names begin with `prefix`, called by the rest of them: a component of a file that holds several.
  WeightMap under(std::string_view prefix) const;
  // A view that keeps the file mapped. Its memory is read-only.
  Tensor tensor(std::string_view name) const;

  const std::vector<WeightInfo>& weights() const { return weights_; }  // sorted by name
  size_t size() const { return weights_.size(); }
  int64_t total_elements() const;  // the number of parameters
  // Where the tensor lies.
  const TensorFile& file_of(const WeightInfo& weight) const { return *owner_of(weight); }
  // The files, for listings; what the files were opened as, for messages.
  const std::vector<std::shared_ptr<const TensorFile>>& files() const { return files_; }
  const std::string& name() const { return name_; }
  // Whether files of the variant asked for were found (Diffusers lets some components have it and others not).
  bool is_variant() const { return is_variant_; }

  // Throws one UserError that names the tensors that hold a NaN or infinity. Reads every byte.
  void check_finite() const;

  // The tensor's pages will not be read for a while: they are given back.
  void release(const WeightInfo& weight) const;

 private:
  const std::shared_ptr<const TensorFile>& owner_of(const WeightInfo& weight) const;
  void add_file(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);
  void index_names();

  std::string name_;
  std::vector<std::shared_ptr<const TensorFile>> files_;
  std::vector<WeightInfo> weights_;
  bool is_variant_ = false;
};

// Whether no element is a NaN or infinity; true for dtypes that have neither.
bool is_finite(const WeightInfo& weight);

}  // namespace vivace
