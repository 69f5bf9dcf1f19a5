#include "pipelines/checkpoint_files.h"

#include <dlfcn.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"
#include "weights/file_layer.h"
#include "weights/known_checkpoints.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// The program's own folder of configs: beside the library where that is installed, or beside the program that it is linked into, else where it was
// built.
fs::path configs_folder() {
  std::error_code ignored;
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&configs_folder), &here) && here.dli_fname) {
    const fs::path folder = fs::canonical(here.dli_fname, ignored).parent_path();
    for (const char* assets : {VIVACE_INSTALLED_ASSETS, "../share/vivace"})
      if (fs::path installed = folder / assets / "configs"; fs::is_directory(installed, ignored)) return installed;
  }
  return fs::path(VIVACE_ASSETS) / "configs";
}

// A folder, or the name of one of the program's own.
fs::path find_configs(const fs::path& wanted) {
  std::error_code ignored;
  if (fs::is_directory(wanted, ignored)) return wanted;
  fs::path own = configs_folder() / wanted;
  if (fs::is_directory(own, ignored)) return own;
  throw UserError(
      cat("no configs at ", wanted.string(), ": expected a folder with model_index.json, or the name of one in ", configs_folder().string()));
}

// What a folder without model_index.json may be, and what to name in its place.
std::string otherwise(const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_regular_file(folder / "config.json", ignored))
    return cat(": it holds one component of a checkpoint: expected the folder above it, with model_index.json");
  if (fs::is_directory(folder / "snapshots", ignored))
    for (const auto& entry : fs::directory_iterator(folder / "snapshots", ignored))
      return cat(": it is a repository in the cache of huggingface_hub: name ", entry.path().string());
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".safetensors" || entry.path().extension() == ".gguf") files.push_back(entry.path().string());
  if (files.size() == 1) return cat(": it holds a file of weights: name that, ", files[0]);
  return ": expected a checkpoint in Diffusers layout (a folder with model_index.json) or in one file";
}

std::string as_option(std::string_view part) {
  std::string name = cat("--", part);
  std::ranges::replace(name, '_', '-');
  return name;
}

constexpr std::string_view kBesideEightBits[] = {".comfy_quant", ".input_scale", ".scale_input", "scaled_fp8"};

std::shared_ptr<const ComponentWeights> spelled(const WeightMap& files, std::string_view class_name, const std::string& otherwise) {
  for (const Spelling& spelling : spellings_of(class_name)) {
    if (!files.find(cat(spelling.prefix, spelling.probe))) continue;
    WeightMap own = files.under(spelling.prefix);
    const auto layer = file_layer(spelling, own);
    std::vector<std::string> besides(spelling.besides.begin(), spelling.besides.end());
    // What ComfyUI keeps beside 8 bits, which is for other ways to multiply them.
    for (const WeightInfo& weight : own.weights())
      if (std::ranges::any_of(kBesideEightBits, [&](std::string_view end) { return weight.name.ends_with(end); })) besides.push_back(weight.name);
    return std::make_shared<const ComponentWeights>(ComponentWeights{std::move(own), {layer}, std::move(besides)});
  }
  throw UserError(cat(files.name(), ": it holds no weights of a ", class_name, otherwise));
}

}  // namespace

CheckpointFiles::CheckpointFiles(const fs::path& path, const PretrainedOptions& options)
    : name_(path.string()), configs_(path), given_(options.components) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) {
    file_ = WeightMap::open(path);
    guessed_ = options.config.empty();
    configs_ = find_configs(guessed_ ? fs::path(known_checkpoint(file_->weights(), name_)) : options.config);
    return;
  }
  if (!fs::is_directory(path, ignored))
    throw UserError(
        cat("no model at ", name_,
            ": expected a checkpoint in Diffusers layout (a folder with model_index.json) or in one file. Nothing is downloaded: hf download "
            "OWNER/NAME --local-dir FOLDER does that"));
  if (!fs::exists(path / "model_index.json", ignored)) throw UserError(cat("no model at ", name_, otherwise(path)));
  if (!options.config.empty()) throw UsageError(cat(name_, ": a folder has configs of its own: config is for checkpoints in one file"));
}

PartFiles CheckpointFiles::model(std::string_view part, std::string_view class_name) const {
  const fs::path own = configs_ / part;
  if (const auto given = given_.find(std::string(part)); given != given_.end()) {
    std::error_code ignored;
    if (fs::is_directory(given->second, ignored)) return {given->second, nullptr};
    return {own, spelled(WeightMap::open(given->second), class_name, " under any names that are known")};
  }
  if (!file_) return {own, nullptr};
  return {own, spelled(*file_, class_name, cat(": name a file or folder for it with ", as_option(part), " (PretrainedOptions::components)"))};
}

fs::path CheckpointFiles::tokenizer(std::string_view part) const {
  const auto given = given_.find(std::string(part));
  fs::path folder = given == given_.end() ? configs_ / part : given->second;
  std::error_code ignored;
  if (file_ && !fs::is_directory(folder, ignored))
    throw UserError(cat(name_, ": it needs a ", part, ", which ", configs_.string(), " does not have: name its folder with ", as_option(part),
                        " (PretrainedOptions::components)"));
  return folder;
}

std::string CheckpointFiles::scheduler_config() const {
  const fs::path path = configs_ / "scheduler" / "scheduler_config.json";
  if (!file_) return read_file(path);
  const FilePrediction said = file_prediction(file_->weights(), file_->files()[0]->metadata());
  nlohmann::json config = read_json(path);
  if (!said.type.empty())
    config["prediction_type"] = said.type;
  else if (guessed_ && config.value("prediction_type", "") == "v_prediction")
    warn(name_, ": it does not say how it predicts: taken as a v_prediction, as ", configs_.filename().string(),
         " is; for one of epsilon (Stable Diffusion 2's base models) name its configs with --config (PretrainedOptions::config)");
  if (said.zero_snr) {
    config["rescale_betas_zero_snr"] = true;
    // Only a schedule that begins at the last timestep sees the noise without a signal.
    config["timestep_spacing"] = "trailing";
  }
  return json_text(config, 2);
}

}  // namespace vivace
