#include "components/random_checkpoint.h"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "components/model_classes.h"
#include "models/common/random_weights.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// Names and shapes of a component's tensors; the graphs are asked, so there is no second list of them.
std::map<std::string, Shape> weights_of(const ModelClass& model, const fs::path& folder) {
  const std::vector<Graph> graphs = model.graphs(Config::read(folder / "config.json"));
  std::map<std::string, Shape> result;
  for (const Graph& g : graphs)
    for (const Node& node : g.nodes)
      if (node.op == Op::weight) result[node.attrs.text("name")] = node.shape;
  return result;
}

void write_random_weights(const fs::path& path, const std::vector<TensorSpec>& specs, const RandomCheckpointOptions& options) {
  write_safetensors(path, specs, {{"format", "pt"}}, [&](size_t i) {
    if (options.on_tensor) options.on_tensor(path.parent_path().filename().string(), specs[i].name);
    return random_weight(specs[i].name, specs[i].shape, options.seed).to(specs[i].dtype);
  });
}

void write_component(const ModelClass& model, const fs::path& folder, const RandomCheckpointOptions& options) {
  const std::string stem(model.weights);
  std::vector<std::vector<TensorSpec>> shards(1);
  int64_t bytes = 0, total = 0;
  for (const auto& [name, shape] : weights_of(model, folder)) {
    const int64_t size = numel(shape) * static_cast<int64_t>(dtype_size(options.dtype));
    if (options.max_shard_bytes > 0 && bytes > 0 && bytes + size > options.max_shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back({name, options.dtype, shape});
    bytes += size;
    total += size;
  }
  if (options.max_shard_bytes <= 0) {
    write_random_weights(folder / (stem + ".safetensors"), shards[0], options);
    return remove_weights_but(folder, stem, {stem + ".safetensors"});
  }
  const std::string index_name = stem + ".safetensors.index.json";
  std::set<std::string> written{index_name};
  nlohmann::json index{{"metadata", {{"total_size", total}}}, {"weight_map", nlohmann::json::object()}};
  for (size_t i = 0; i < shards.size(); ++i) {
    char suffix[48];
    std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_random_weights(folder / (stem + suffix), shards[i], options);
    written.insert(stem + suffix);
    for (const TensorSpec& spec : shards[i]) index["weight_map"][spec.name] = stem + suffix;
  }
  write_file(folder / index_name, json_text(index, 2));
  remove_weights_but(folder, stem, written);
}

}  // namespace

void make_random_checkpoint(const fs::path& configs, const fs::path& out, const RandomCheckpointOptions& options) {
  if (options.dtype != float32 && options.dtype != bfloat16 && options.dtype != float16)
    throw UsageError(cat("dtype ", dtype_name(options.dtype), " has no random weights: expected float32, bfloat16 or float16"));
  const Config index = Config::read(configs / "model_index.json");
  if (is_within(out, configs)) throw UsageError(cat(out.string(), " is the folder of configs itself or lies in it: choose another folder to write"));
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw UserError(cat("cannot make the folder ", out.string(), ": ", error.message()));
  for (const auto& entry : fs::recursive_directory_iterator(configs, fs::directory_options::follow_directory_symlink)) {
    const fs::path to = out / entry.path().lexically_relative(configs);
    if (entry.is_directory())
      fs::create_directories(to, error);
    else if (entry.path().extension() != ".safetensors" && entry.path().filename().string().find(".safetensors.index.") == std::string::npos)
      fs::copy_file(entry.path(), to, fs::copy_options::overwrite_existing, error);
    if (error) throw UserError(cat("cannot write ", to.string(), ": ", error.message()));
  }
  for (const std::string& name : index.keys()) {
    if (!index.is_list(name)) continue;
    const auto entry = index.get<std::vector<std::optional<std::string>>>(name);
    const ModelClass* model = entry.size() == 2 && entry[1] ? find_model_class(*entry[1]) : nullptr;
    if (model && fs::exists(out / name / "config.json")) write_component(*model, out / name, options);
  }
}

}  // namespace vivace
