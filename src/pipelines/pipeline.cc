// What a loaded pipeline lets be looked at and changed.
#include <algorithm>
#include <set>

#include "base/joined.h"
#include "base/log.h"
#include "components/model_classes.h"
#include "components/models.h"
#include "families/common/clip_prompt.h"
#include "pipelines/layer_names.h"
#include "pipelines/loaded.h"
#include "vivace/error.h"

namespace vivace {

// Of all families, in the order of their tables.
const std::vector<std::string>& component_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    const auto add = [&](std::string name) {
      if (!std::ranges::count(list, name)) list.push_back(std::move(name));
    };
    for (const Family& family : families())
      for (const PartSpec& part : family.parts)
        for (const std::string_view class_name : part.classes)
          if (const ModelClass* model = find_model_class(class_name)) {
            add(std::string(part.name));
            for (const std::string_view function : model->functions) add(cat(part.name, '.', function));
          }
    return list;
  }();
  return names;
}

void DiffusionPipeline::compile(const CompileOptions& options, const std::vector<std::string>& components) {
  check_layer_names(loaded_->parts, options);
  if (components.empty()) {
    for (const PartSpec& part : loaded_->family->parts)
      if (part.hot && loaded_->parts.has(part.name)) model(std::string(part.name)).compile(options);
    return;
  }
  for (const std::string& name : components) {
    if (!std::ranges::count(component_names(), name))
      throw UsageError(cat("compile: unknown component \"", name, "\": expected one of ", joined(component_names())));
    const size_t dot = name.find('.');
    model(name.substr(0, dot)).component().compile(options, dot == std::string::npos ? "" : name.substr(dot + 1));
  }
}

const std::string& DiffusionPipeline::class_name() const { return loaded_->parts.class_name; }
bool DiffusionPipeline::makes_videos() const { return loaded_->family->videos; }
DiffusionPipeline::Loaded& DiffusionPipeline::loaded() { return *loaded_; }

Model& DiffusionPipeline::model(const std::string& name) { return loaded_->parts.model(name); }
std::vector<std::string> DiffusionPipeline::models() const {
  std::vector<std::string> names;
  for (const PartSpec& part : loaded_->family->parts)
    if (loaded_->parts.has(part.name)) names.emplace_back(part.name);
  return names;
}

namespace {
// The model of this name, where it is of this class.
template <class T>
T& typed(Model& model, const char* name, const char* class_name) {
  auto* found = dynamic_cast<T*>(&model);
  if (!found) throw UsageError(cat("the ", name, " of this checkpoint is no ", class_name, ": take it from model(\"", name, "\")"));
  return *found;
}
}  // namespace

UNet2DConditionModel& DiffusionPipeline::unet() { return typed<UNet2DConditionModel>(model("unet"), "unet", "UNet2DConditionModel"); }
Model& DiffusionPipeline::transformer() { return model("transformer"); }
Autoencoder& DiffusionPipeline::vae() { return typed<Autoencoder>(model("vae"), "vae", "Autoencoder"); }
CLIPTextModel& DiffusionPipeline::text_encoder() { return typed<CLIPTextModel>(model("text_encoder"), "text_encoder", "CLIPTextModel"); }
CLIPTextModel& DiffusionPipeline::text_encoder_2() { return typed<CLIPTextModel>(model("text_encoder_2"), "text_encoder_2", "CLIPTextModel"); }

Scheduler& DiffusionPipeline::scheduler() { return *loaded_->parts.scheduler; }
const Scheduler& DiffusionPipeline::scheduler() const { return *loaded_->parts.scheduler; }
void DiffusionPipeline::set_scheduler(std::unique_ptr<Scheduler> scheduler) {
  if (!scheduler) throw UsageError("set_scheduler: there is no scheduler to set");
  loaded_->parts.scheduler = std::move(scheduler);
}

DiffusionPipeline& DiffusionPipeline::to(const std::string& device) {
  for (const auto& [name, model] : loaded_->parts.models) model->to(device);
  return *this;
}

void DiffusionPipeline::fuse_qkv_projections(bool denoiser, bool vae) {
  const std::string_view name = denoiser_of(*loaded_->family);
  for (const PartSpec& part : loaded_->family->parts)
    if (part.hot && loaded_->parts.has(part.name) && (part.name == name || part.controlnet ? denoiser : vae))
      loaded_->parts.model(part.name).fuse_qkv_projections();
}

void DiffusionPipeline::unfuse_qkv_projections(bool denoiser, bool vae) {
  const std::string_view name = denoiser_of(*loaded_->family);
  for (const PartSpec& part : loaded_->family->parts)
    if (part.hot && loaded_->parts.has(part.name) && (part.name == name || part.controlnet ? denoiser : vae))
      loaded_->parts.model(part.name).unfuse_qkv_projections();
}

void DiffusionPipeline::enable_vae_tiling() { vae().enable_tiling(); }
void DiffusionPipeline::disable_vae_tiling() { vae().disable_tiling(); }

Offload parse_offload(const std::string& name) {
  if (name == "auto") return Offload::automatic;
  if (name == "model") return Offload::model;
  if (name == "sequential") return Offload::sequential;
  if (name == "none") return Offload::none;
  throw UsageError(cat("offload is \"", name, "\": expected auto, model, sequential or none"));
}

void DiffusionPipeline::enable_model_cpu_offload() { loaded_->offload = Offload::model; }
void DiffusionPipeline::enable_sequential_cpu_offload() { loaded_->offload = Offload::sequential; }

Size DiffusionPipeline::default_size() const { return loaded_->recipe->default_size(); }

Tensor DiffusionPipeline::tokenize(const Prompts& prompt, int number) const {
  const std::string name = number == 1 ? "tokenizer" : cat("tokenizer_", number);
  const Tokenizer* tokenizer = loaded_->parts.tokenizer(name);
  if (!tokenizer) throw UsageError(cat("this checkpoint has no ", name));
  return vivace::tokenize(loaded_->parts, name, prompt, tokenizer->model_max_length());
}

}  // namespace vivace
