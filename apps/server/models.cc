#include "models.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <tuple>

#include "base/json.h"
#include "base/log.h"
#include "components/models.h"
#include "families/common/arguments.h"
#include "pipelines/loaded.h"
#include "samplers.h"
#include "vivace/error.h"

namespace vivace::server {

std::vector<ModelEntry> model_entries(const std::vector<std::string>& texts) {
  std::vector<ModelEntry> entries;
  for (const std::string& text : texts) {
    // A path may hold "=": what exists as it stands is one.
    const size_t equals = std::filesystem::exists(text) ? std::string::npos : text.find('=');
    const std::filesystem::path path = equals == std::string::npos ? text : text.substr(equals + 1);
    const bool file = std::filesystem::is_regular_file(path);
    if (!file && !std::filesystem::is_directory(path))
      throw UserError(cat("no model at ", path.string(), ": expected a folder in Diffusers layout (with model_index.json), or a file"));
    const std::filesystem::path whole = std::filesystem::weakly_canonical(path);
    const std::string name = equals != std::string::npos ? text.substr(0, equals) : (file ? whole.stem() : whole.filename()).string();
    if (std::ranges::count(entries, name, &ModelEntry::name))
      throw UsageError(cat("--model ", text, ": there is a model ", name, " already: name one of them, as in --model other=", path.string()));
    entries.push_back({name, path.string(), file ? "" : Config::read(path / "model_index.json").get<std::string>("_class_name")});
    if (std::ranges::any_of(families(), [&](const Family& family) { return family.videos && family.class_name == entries.back().class_name; }))
      throw UsageError(cat("--model ", text, ": a ", entries.back().class_name, " makes videos, and the server draws pictures: see vivace generate"));
  }
  if (entries.empty()) throw UsageError("no model: expected --model and a folder");
  return entries;
}

LoadedModel::LoadedModel(DiffusionPipeline pipe, std::shared_ptr<const AutoencoderTiny> preview_decoder)
    : pipe_(std::move(pipe)),
      scheduler_class_(pipe_.scheduler().class_name()),
      scheduler_config_(pipe_.scheduler().config()),
      scheduler_now_("{}"),
      previews_(std::move(preview_decoder)) {}

LoadedModel::Settings LoadedModel::settings(const std::string& prompt, const CallOptions& options) const {
  const std::lock_guard lock(mutex_);
  const Recipe& recipe = *const_cast<DiffusionPipeline&>(pipe_).loaded().recipe;
  const Call call = recipe.resolve(prompt, options);
  return {.height = call.height, .width = call.width, .steps = recipe.num_inference_steps(call).value_or(0), .guidance_scale = call.guidance_scale};
}

LoadedModel::Settings LoadedModel::defaults() const { return settings("", const_cast<DiffusionPipeline&>(pipe_).loaded().recipe->blank_call({})); }

bool LoadedModel::serves(Task task) const {
  const Family& own = *const_cast<DiffusionPipeline&>(pipe_).loaded().family;
  return task == Task::text_to_image || &family_for(own, task, own.controlled) == &own;
}

CallOptions LoadedModel::fitted(CallOptions call) const {
  const DiffusionPipeline::Loaded& loaded = const_cast<DiffusionPipeline&>(pipe_).loaded();
  const int64_t scale = loaded.parts.component<VAEComponent>("vae").latents().scale;
  const bool begins = loaded.family->task != Task::text_to_image && !call.image.images.empty();
  if (!begins && !call.height && !call.width) return call;
  for (const auto& [name, value] : {std::pair("height", call.height), std::pair("width", call.width)})
    if (begins && value) check_size(value, name, scale);
  Size size = loaded.recipe->default_size();
  if (begins) size = {call.image.images.front().height() / scale * scale, call.image.images.front().width() / scale * scale};
  if (call.height) size.first = call.height;
  if (call.width) size.second = call.width;
  loaded.recipe->set_size(call, size);
  return call;
}

int64_t LoadedModel::tokens(const std::string& prompt) const {
  const Tokenizer* tokenizer = const_cast<DiffusionPipeline&>(pipe_).loaded().parts.tokenizer("tokenizer");
  return tokenizer ? tokenizer->encode(prompt).length : 0;
}

void LoadedModel::use_scheduler(const std::string& name, const std::string& overrides) {
  const std::string wanted = name + overrides;
  if (wanted == scheduler_now_) return;
  const std::string& chosen = name.empty() ? scheduler_class_ : name;
  check_choice({chosen, overrides});
  auto scheduler = make_scheduler(chosen, scheduler_config_, overrides);
  const std::lock_guard lock(mutex_);
  pipe_.set_scheduler(std::move(scheduler));
  scheduler_now_ = wanted;
}

void LoadedModel::use_loras(const std::vector<LoraChoice>& loras) {
  if (loras == active_) return;
  active_.reset();  // until all of it is done: a file that does not fit must not leave the others to the next request
  const auto file = [](const LoraChoice& a) { return std::tuple(a.name, a.path, a.stamp); };
  std::vector<std::string> names, unwanted;
  std::vector<double> weights;
  std::vector<LoraChoice> kept;
  for (const LoraChoice& a : loaded_) std::ranges::count(loras, file(a), file) ? kept.push_back(a) : unwanted.push_back(a.name);
  pipe_.delete_adapters(unwanted);
  loaded_ = std::move(kept);
  for (const LoraChoice& a : loras) {
    names.push_back(a.name);
    weights.push_back(a.weight);
    if (std::ranges::count(loaded_, file(a), file)) continue;
    pipe_.load_lora_weights(a.path, a.name);
    loaded_.push_back(a);
  }
  pipe_.set_adapters(names, weights);
  active_ = loras;
}

size_t LoadedModel::bytes() const {
  size_t total = 0;
  auto& pipe = const_cast<DiffusionPipeline&>(pipe_);
  for (const std::string& name : pipe.models()) total += pipe.model(name).component().held_bytes();
  return total;
}

size_t LoadedModel::activation_bytes() const {
  size_t total = 0;
  auto& pipe = const_cast<DiffusionPipeline&>(pipe_);
  for (const std::string& name : pipe.models()) total += pipe.model(name).component().arena_bytes();
  return total;
}

Models::Models(std::vector<ModelEntry> entries, Load load, size_t most_bytes, std::shared_ptr<const AutoencoderTiny> preview_decoder)
    : entries_(std::move(entries)),
      load_(std::move(load)),
      most_bytes_(most_bytes),
      preview_decoder_(std::move(preview_decoder)),
      rows_(entries_.size()) {}

const ModelEntry* Models::find(const std::string& name) const {
  const auto found = std::ranges::find(entries_, name, &ModelEntry::name);
  return found == entries_.end() ? nullptr : &*found;
}

std::string Models::chosen() const {
  const std::lock_guard lock(mutex_);
  return entries_[chosen_].name;
}

void Models::choose(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].name == name) chosen_ = i;
}

std::shared_ptr<const LoadedModel> Models::loaded(const std::string& name, Task task) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].name == name) return rows_[i].at(task);
  return nullptr;
}

size_t Models::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const Row& row : rows_) total += row.bytes;
  return total;
}

std::shared_ptr<LoadedModel> Models::load(const std::string& name, Task task) {
  const auto at = static_cast<size_t>(std::ranges::find(entries_, name, &ModelEntry::name) - entries_.begin());
  if (at == entries_.size()) throw UsageError(cat("there is no model ", name));
  {
    const std::lock_guard lock(mutex_);
    rows_[at].used = ++uses_;
    if (rows_[at].at(task)) return rows_[at].at(task);
  }
  std::shared_ptr<LoadedModel> model;
  if (task != Task::text_to_image) model = load(name);
  if (!model || !model->serves(task)) model = std::make_shared<LoadedModel>(load_(entries_[at].folder, task), preview_decoder_);
  const std::lock_guard lock(mutex_);
  rows_[at].by_task[static_cast<size_t>(task)] = model;
  return model;
}

void Models::keep_within_budget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (Row& row : rows_) {
    const auto& own = row.at(Task::text_to_image);
    row.bytes = own ? own->bytes() : 0;
    for (const auto& model : row.by_task)
      if (model && model != own) row.bytes += model->activation_bytes();
    total += row.bytes;
  }
  while (total > most_bytes_) {
    Row* oldest = nullptr;
    for (size_t i = 0; i < rows_.size(); ++i)
      if (rows_[i].at(Task::text_to_image) && entries_[i].name != name && (!oldest || rows_[i].used < oldest->used)) oldest = &rows_[i];
    if (!oldest) return;
    total -= oldest->bytes;
    *oldest = {};
  }
}

}  // namespace vivace::server
