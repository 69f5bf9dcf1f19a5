// A checkpoint folder in Diffusers layout -> a pipeline.
#include <algorithm>

#include "base/files.h"
#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "components/model_classes.h"
#include "pipelines/checkpoint_files.h"
#include "pipelines/layer_names.h"
#include "pipelines/loaded.h"
#include "pipelines/scheduler_check.h"
#include "schedulers/scheduler_base.h"
#include "vivace/error.h"
#include "vivace/pipelines.h"

namespace vivace {
namespace {

// "UNet2DConditionModel" of ["diffusers", "UNet2DConditionModel"]; empty for a part that model_index.json leaves out, with [null, null] or
// altogether.
std::string class_of(const Config& index, std::string_view part) {
  if (!index.has(part) || index.is_null(part)) return "";
  const auto entry = index.get<std::vector<std::optional<std::string>>>(part);
  return entry.size() == 2 && entry[1] ? *entry[1] : "";
}

// A scheduler as the pipeline's class takes it.
std::unique_ptr<Scheduler> make_own(const Family& family, const std::string& name, const std::string& config) {
  auto scheduler = make_scheduler(name, config);
  if (!family.scheduler_corrections) return scheduler;
  const std::string corrections = family.scheduler_corrections(scheduler->config());
  return corrections == "{}" ? std::move(scheduler) : make_scheduler_forced(name, config, "{}", corrections);
}

// The checkpoint's scheduler, of the class that model_index.json names, or the one `wanted` with its config.
std::unique_ptr<Scheduler> load_scheduler(const Family& family, const std::string& name, const CheckpointFiles& files, const std::string& wanted) {
  const std::string config = files.scheduler_config();
  std::unique_ptr<Scheduler> own;
  try {
    own = make_own(family, name, config);
  } catch (const UserError& error) {
    if (!wanted.empty()) return make_own(family, wanted, config);
    throw UserError(cat((files.configs() / "scheduler" / "scheduler_config.json").string(), ": ", error.what(),
                        "; another scheduler can take its place: --scheduler NAME (PretrainedOptions::scheduler)"));
  }
  return wanted.empty() ? std::move(own) : make_scheduler(wanted, own->config());
}

// The class that model_index.json names, or the one wanted of those that the same parts make; with ControlNets beside them the one that has some.
const Family& family_of(const Config& index, const std::string& wanted, bool controlled, std::span<const Family> among) {
  const auto name = index.get<std::string>("_class_name");
  const auto found = std::ranges::find(among, name, &Family::class_name);
  if (found == among.end())
    index.unsupported("_class_name", joined(among, ", ", [](const Family& family) { return cat('"', family.class_name, '"'); }));
  if (wanted.empty() && controlled && !found->controlled) {
    const auto with = std::ranges::find_if(among, [&](const Family& family) {
      return family.controlled && family.task == found->task && family.model == found->model && !family.model.empty();
    });
    if (with == among.end()) throw UserError(cat(index.name(), ": a ", name, " takes no ControlNets"));
    return *with;
  }
  if (wanted.empty() || wanted == name) return *found;
  std::vector<std::string> others;
  for (const Family& family : among) {
    if (family.model.empty() || family.model != found->model) continue;
    if (family.class_name == wanted) return family;
    if (family.class_name != name) others.emplace_back(family.class_name);
  }
  throw UserError(cat(std::filesystem::path(index.name()).parent_path().string(), " holds a ", name, ", not a ", wanted,
                      others.empty() ? "" : cat("; its parts make also a ", joined(others, " or a "))));
}

// The class that a folder's config names; empty where it names none, as those of Transformers do.
std::string class_in(const std::filesystem::path& folder) {
  return is_file(folder / "config.json") ? Config::read(folder / "config.json").get_or<std::string>("_class_name", "") : "";
}

void load_part(const PartSpec& spec, const Config& index, const CheckpointFiles& files, const PretrainedOptions& options, bool look,
               DiffusionPipeline::Loaded& loaded) {
  Parts& parts = loaded.parts;
  std::string class_name = class_of(index, spec.name);
  const bool is_given = spec.controlnet && !options.controlnet.empty();  // one of the ControlNets beside the checkpoint
  if (is_given) {
    if (parts.elsewhere.size() == options.controlnet.size()) return;
    const std::filesystem::path& folder = options.controlnet[parts.elsewhere.size()];
    if (!is_file(folder / "config.json"))
      throw UserError(cat("no ControlNet at ", folder.string(), ": expected its folder, with config.json and weights"));
    class_name = class_in(folder);
    if (std::ranges::count(spec.classes, class_name) == 0)
      throw UserError(cat(folder.string(), " holds a ", class_name, ", not a ", joined(spec.classes, " or ")));
    parts.elsewhere.emplace(spec.name, folder.string());
  }
  if (class_name.empty() && spec.optional) return;
  if (class_name.empty()) throw UserError(cat(index.name(), ": field \"", spec.name, "\" is missing: a ", parts.class_name, " needs it"));
  if (spec.classes.empty()) {
    parts.scheduler = load_scheduler(*loaded.family, class_name, files, options.scheduler);
    loaded.scheduler_kind = kind_of_scheduler(class_name, files.scheduler_config());
    return;
  }
  if (std::ranges::count(spec.classes, class_name) == 0) index.unsupported(spec.name, joined(spec.classes, " or "));
  if (is_tokenizer(class_name)) {
    const std::filesystem::path folder = files.tokenizer(spec.name);
    loaded.folders.emplace(spec.name, folder);
    if (!look || is_folder(folder)) parts.tokenizers.emplace(spec.name, open_tokenizer(class_name, folder));
    return;
  }
  const auto& family_models = loaded.family->models;
  const auto found = std::ranges::find(family_models, class_name, &ModelClass::name);
  const ModelClass* model = found == family_models.end() ? find_model_class(class_name) : &*found;
  if (!model) throw InternalError(cat(spec.name, ": no model class ", class_name));
  if (const auto given = options.components.find(std::string(spec.name)); given != options.components.end())
    if (const std::string held = class_in(given->second); !held.empty() && held != class_name)
      throw UserError(cat(given->second.string(), " holds a ", held, ", not a ", class_name));
  const PartFiles own_files = is_given ? PartFiles{.folder = parts.folder(spec.name)} : files.model(spec.name, class_name);
  ComponentOptions own;
  own.weights = own_files.weights;
  own.class_name = class_name;
  loaded.folders.emplace(spec.name, own_files.folder);
  loaded.weights_in_files |= own_files.weights != nullptr;
  own.dtype = options.dtype;
  own.variant = options.variant;
  own.cache = options.cache;
  own.idle_bytes = options.idle_bytes;
  own.device = options.device;
  own.look = look;
  if (spec.hot)
    own.compile = options.compile;
  else
    own.compile = {.dynamic = options.compile.dynamic, .use_duck_shape = options.compile.use_duck_shape};
  parts.models.emplace(spec.name, model->open(own_files.folder, own));
  parts.classes.emplace(spec.name, class_name);
}

}  // namespace

const Family& family_for(const Family& own, Task task, bool controlled) {
  if (own.model.empty()) return own;
  const auto found = std::ranges::find_if(
      families(), [&](const Family& family) { return family.model == own.model && family.task == task && family.controlled == controlled; });
  return found == families().end() ? own : *found;
}

std::string class_for(const std::filesystem::path& path, const PretrainedOptions& options, Task task) {
  const Config index = Config::read(CheckpointFiles(path, options).configs() / "model_index.json");
  auto name = index.get<std::string>("_class_name");
  const auto own = std::ranges::find(families(), name, &Family::class_name);
  if (own == families().end()) return name;
  return std::string(family_for(*own, task, own->controlled || !options.controlnet.empty()).class_name);
}

std::unique_ptr<DiffusionPipeline::Loaded> load_pipeline(const std::filesystem::path& path, const PretrainedOptions& options, bool look,
                                                         std::span<const Family> among) {
  const CheckpointFiles files(path, options);
  const Config index = Config::read(files.configs() / "model_index.json");
  auto loaded = std::make_unique<DiffusionPipeline::Loaded>();
  loaded->family = &family_of(index, options.pipeline_class, !options.controlnet.empty(), among);
  if (!options.controlnet.empty() && !loaded->family->controlled)
    throw UsageError(cat("ControlNets are given: a ", loaded->family->class_name, " takes none"));
  loaded->parts.path = files.configs().string();
  loaded->offload = options.offload;
  loaded->max_memory = options.max_memory;
  loaded->parts.class_name = loaded->family->class_name;
  for (const auto& given : options.components)
    if (std::ranges::none_of(loaded->family->parts, [&](const PartSpec& spec) { return spec.name == given.first && !spec.classes.empty(); }))
      throw UsageError(cat("components: a ", loaded->family->class_name, " has no \"", given.first, "\" to be named: it has ",
                           joined(loaded->family->parts, ", ", &PartSpec::name)));
  for (const PartSpec& spec : loaded->family->parts) load_part(spec, index, files, options, look, *loaded);
  if (loaded->parts.elsewhere.size() < options.controlnet.size())
    throw UsageError(cat(options.controlnet.size(), options.controlnet.size() == 1 ? " ControlNet is" : " ControlNets are", " given: a ",
                         loaded->family->class_name, " takes ", loaded->parts.elsewhere.size()));
  const auto is_variant = [](const auto& entry) { return entry.second->component().weights().files().is_variant(); };
  if (!look && !options.variant.empty() && std::ranges::none_of(loaded->parts.models, is_variant))
    throw UserError(cat(path.string(), ": no part has weight files of variant \"", options.variant, "\": leave it out, or name one that is there"));
  if (!look) check_layer_names(loaded->parts, options.compile);
  loaded->recipe = loaded->family->open(loaded->parts, index);
  if (!class_of(index, "safety_checker").empty())
    warn(path.string(), ": the safety_checker of this checkpoint is not run (Diffusers' safety_checker=None)");
  return loaded;
}

DiffusionPipeline::DiffusionPipeline(const std::filesystem::path& path, const PretrainedOptions& options) : loaded_(load_pipeline(path, options)) {
  // In the order of the names, so that "vae" does not undo "vae.decode".
  for (const auto& [name, own] : options.compile_components) compile(own, {name});
}

DiffusionPipeline::DiffusionPipeline(std::unique_ptr<Loaded> loaded) : loaded_(std::move(loaded)) {}
DiffusionPipeline::DiffusionPipeline(DiffusionPipeline&&) noexcept = default;
DiffusionPipeline& DiffusionPipeline::operator=(DiffusionPipeline&&) noexcept = default;
DiffusionPipeline::~DiffusionPipeline() = default;

namespace {
const std::filesystem::path& a_folder(const std::filesystem::path& path) {
  if (is_file(path)) throw UserError(cat(path.string(), " is a file: from_pretrained takes a folder, from_single_file this"));
  return path;
}
const std::filesystem::path& a_file(const std::filesystem::path& path) {
  if (!is_file(path)) throw UserError(cat("no file at ", path.string(), ": from_single_file takes a checkpoint in one file"));
  return path;
}
PretrainedOptions as_class(PretrainedOptions options, std::string_view name) {
  if (!options.pipeline_class.empty() && options.pipeline_class != name)
    throw UsageError(cat("pipeline_class is ", options.pipeline_class, ": a ", name, " is opened as no other class"));
  options.pipeline_class = name;
  return options;
}
PretrainedOptions for_task(const std::filesystem::path& path, PretrainedOptions options, Task task) {
  options.pipeline_class = class_for(path, options, task);
  return options;
}
}  // namespace

DiffusionPipeline DiffusionPipeline::from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options) {
  return {a_folder(path), options};
}
DiffusionPipeline DiffusionPipeline::from_single_file(const std::filesystem::path& path, const PretrainedOptions& options) {
  return {a_file(path), options};
}

DiffusionPipeline AutoPipelineForText2Image::from_pretrained(const std::filesystem::path& path, PretrainedOptions options) {
  return DiffusionPipeline::from_pretrained(path, for_task(a_folder(path), std::move(options), Task::text_to_image));
}
DiffusionPipeline AutoPipelineForImage2Image::from_pretrained(const std::filesystem::path& path, PretrainedOptions options) {
  return DiffusionPipeline::from_pretrained(path, for_task(a_folder(path), std::move(options), Task::image_to_image));
}
DiffusionPipeline AutoPipelineForInpainting::from_pretrained(const std::filesystem::path& path, PretrainedOptions options) {
  return DiffusionPipeline::from_pretrained(path, for_task(a_folder(path), std::move(options), Task::inpainting));
}

#define VIVACE_PIPELINE(name)                                                                        \
  name name::from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options) {  \
    return {a_folder(path), as_class(options, #name)};                                               \
  }                                                                                                  \
  name name::from_single_file(const std::filesystem::path& path, const PretrainedOptions& options) { \
    return {a_file(path), as_class(options, #name)};                                                 \
  }
VIVACE_PIPELINE(StableDiffusionXLPipeline)
VIVACE_PIPELINE(StableDiffusionXLImg2ImgPipeline)
VIVACE_PIPELINE(StableDiffusionXLInpaintPipeline)
VIVACE_PIPELINE(StableDiffusionXLControlNetPipeline)
VIVACE_PIPELINE(StableDiffusionXLControlNetImg2ImgPipeline)
VIVACE_PIPELINE(StableDiffusionXLControlNetInpaintPipeline)
VIVACE_PIPELINE(StableDiffusionControlNetPipeline)
VIVACE_PIPELINE(StableDiffusionControlNetImg2ImgPipeline)
VIVACE_PIPELINE(StableDiffusionControlNetInpaintPipeline)
VIVACE_PIPELINE(StableDiffusionPipeline)
VIVACE_PIPELINE(StableDiffusionImg2ImgPipeline)
VIVACE_PIPELINE(StableDiffusionInpaintPipeline)
VIVACE_PIPELINE(FluxPipeline)
VIVACE_PIPELINE(FluxKontextPipeline)
VIVACE_PIPELINE(FluxImg2ImgPipeline)
VIVACE_PIPELINE(AuraFlowPipeline)
VIVACE_PIPELINE(CogVideoXPipeline)
VIVACE_PIPELINE(CogVideoXImageToVideoPipeline)
VIVACE_PIPELINE(CogVideoXVideoToVideoPipeline)
VIVACE_PIPELINE(LatentConsistencyModelPipeline)
#undef VIVACE_PIPELINE

}  // namespace vivace
