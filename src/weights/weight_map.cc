#include "weights/weight_map.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"
#include "weights/name_list.h"
#include "weights/weight_files.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// "....attentions.0.query.weight" -> "....attentions.0.to_q.weight": Diffusers renames these on load too.
std::string current_name(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kRenamed{
      {{"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"}}};
  const size_t last = name.rfind('.');
  const size_t before = last == name.npos || last == 0 ? name.npos : name.rfind('.', last - 1);
  if (before == name.npos) return name;
  const std::string_view layer(name.data() + before + 1, last - before - 1), path(name.data(), before);
  // The parent must be an entry of a list called attentions.
  const size_t list = path.rfind(".attentions.");
  if (list == path.npos || path.find('.', list + 12) != path.npos) return name;
  for (const auto& [old_layer, layer_now] : kRenamed)
    if (layer == old_layer) return cat(path, ".", layer_now, name.substr(last));
  return name;
}

}  // namespace

WeightMap WeightMap::open(const fs::path& path, std::string_view variant) {
  WeightMap map;
  map.name_ = path.string();
  std::error_code ignored;
  if (path.extension() == ".safetensors" || fs::is_regular_file(path, ignored)) {
    map.add_file(path);
  } else {
    const WeightFiles found = find_weight_files(path, variant);
    map.is_variant_ = found.is_variant;
    if (!variant.empty() && !found.is_variant) info(path.string(), ": no files of variant \"", variant, "\", using ", found.path.filename().string());
    if (found.is_index)
      map.add_shards(found.path);
    else
      map.add_file(found.path);
  }
  map.index_names();
  return map;
}

void WeightMap::add_file(const fs::path& path) {
  files_.push_back(TensorFile::open(path));
  for (const WeightInfo& weight : files_.back()->tensors()) weights_.push_back(weight);
}

void WeightMap::add_shards(const fs::path& index) {
  const auto places = Config::read(index).object("weight_map").string_fields();
  std::set<std::string> shards;
  for (const auto& [tensor, file] : places) shards.insert(file);
  NameList missing;
  for (const std::string& file : shards) {
    // An index must not reach out of its folder.
    if (file.find('/') != file.npos || !file.ends_with(".safetensors"))
      throw UserError(cat(index.string(), ": field \"weight_map\": expected names of .safetensors files in the same folder, got \"", file, "\""));
    std::error_code ignored;
    if (!fs::exists(index.parent_path() / file, ignored)) missing.add(file);
  }
  if (missing.count() > 0)
    throw UserError(cat(index.string(), ": ", missing.count(), " of ", shards.size(), " shards missing: ", missing.text(),
                        ": copy or download them next to the index"));
  for (const std::string& file : shards) add_file(index.parent_path() / file);

  std::set<std::pair<std::string_view, std::string_view>> present;
  for (const auto& file : files_)
    for (const WeightInfo& weight : file->tensors()) present.emplace(weight.name, weight.file);
  NameList lacking;
  for (const auto& [tensor, file] : places)
    if (!present.contains({tensor, (index.parent_path() / file).string()})) lacking.add(cat(tensor, " (", file, ")"));
  if (lacking.count() > 0)
    throw UserError(cat(index.string(), ": ", lacking.count(), " tensors are not in the shard that the index names: ", lacking.text()));
}

void WeightMap::index_names() {
  for (WeightInfo& weight : weights_) weight.name = current_name(weight.name);
  // transformers saves a text encoder with "text_model." before its names or, where it was not loaded from a file, without.
  const auto is_bare = [](const WeightInfo& w) { return w.name == "embeddings.token_embedding.weight"; };
  if (std::ranges::any_of(weights_, is_bare))
    for (WeightInfo& weight : weights_)
      if (!weight.name.starts_with("text_projection.")) weight.name = "text_model." + weight.name;
  // T5's embedding lies under one of two names, or under both.
  constexpr std::string_view kShared = "shared.weight", kTied = "encoder.embed_tokens.weight";
  if (std::ranges::none_of(weights_, [&](const WeightInfo& w) { return w.name == kShared; }))
    for (WeightInfo& weight : weights_)
      if (weight.name == kTied) weight.name = kShared;
  std::ranges::sort(weights_, {}, &WeightInfo::name);
  const auto twice = std::ranges::adjacent_find(weights_, {}, &WeightInfo::name);
  if (twice != weights_.end())
    throw UserError(cat(name_, ": tensor \"", twice->name, "\" is there twice: in ", twice->file, " and ", std::next(twice)->file));
}

WeightMap WeightMap::under(std::string_view prefix) const {
  WeightMap part = *this;
  std::erase_if(part.weights_, [&](const WeightInfo& weight) { return !weight.name.starts_with(prefix); });
  for (WeightInfo& weight : part.weights_) weight.name.erase(0, prefix.size());
  part.index_names();
  return part;
}

const WeightInfo* WeightMap::find(std::string_view name) const {
  const auto it = std::ranges::lower_bound(weights_, name, {}, [](const WeightInfo& w) { return std::string_view(w.name); });
  return it != weights_.end() && it->name == name ? &*it : nullptr;
}

const WeightInfo& WeightMap::at(std::string_view name) const {
  const WeightInfo* weight = find(name);
  if (!weight) throw UserError(cat(name_, ": tensor \"", name, "\" is missing"));
  return *weight;
}

Tensor WeightMap::tensor(std::string_view name) const {
  const WeightInfo& weight = at(name);
  return Tensor::view(weight.shape, weight.dtype, const_cast<void*>(weight.data), std::const_pointer_cast<TensorFile>(owner_of(weight)));
}

const std::shared_ptr<const TensorFile>& WeightMap::owner_of(const WeightInfo& weight) const {
  // The path's text is the file's own.
  const auto file = std::ranges::find_if(files_, [&](const auto& f) { return f->path().data() == weight.file.data(); });
  if (file == files_.end()) throw InternalError(cat("tensor \"", weight.name, "\" is of no file of ", name_));
  return *file;
}

int64_t WeightMap::total_elements() const {
  int64_t elements = 0;
  for (const WeightInfo& weight : weights_) elements += numel(weight.shape);
  return elements;
}

void WeightMap::check_finite() const {
  NameList bad;
  for (const WeightInfo& weight : weights_) {
    if (!is_finite(weight)) bad.add(weight.name);
    release(weight);
  }
  if (bad.count() > 0)
    throw UserError(
        cat(name_, ": ", bad.count(), " tensors hold a NaN or infinity: ", bad.text(), "; the file is damaged or was converted badly: get it again"));
}

void WeightMap::release(const WeightInfo& weight) const {
  const FileMap& map = file_of(weight).map();
  const auto* data = static_cast<const std::byte*>(weight.data);
  if (data >= map.data() && data < map.data() + map.size()) map.dont_need(static_cast<size_t>(data - map.data()), weight.bytes);
}

}  // namespace vivace
