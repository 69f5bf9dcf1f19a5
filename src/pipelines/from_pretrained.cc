// A checkpoint folder in Diffusers layout -> a pipeline.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "pipelines/agreement.h"
#include "pipelines/parts.h"
#include "schedulers/scheduler_base.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr const char* kXL = "StableDiffusionXLPipeline";
constexpr const char* kSD = "StableDiffusionPipeline";

// Whether model_index.json names the component: ["diffusers", "UNet2DConditionModel"], with [null, null] for one that is left out.
bool lists(const Config& index, const char* component) {
  if (!index.has(component) || index.is_null(component)) return false;
  const auto entry = index.get<std::vector<std::optional<std::string>>>(component);
  return entry.size() == 2 && entry[1].has_value();
}

// A scheduler as the pipeline's class takes it.
std::unique_ptr<Scheduler> make_own(const std::string& name, const std::string& config, bool is_xl) {
  auto scheduler = make_scheduler(name, config);
  if (is_xl) return scheduler;
  // StableDiffusionPipeline corrects outdated configs: it was trained with an offset of 1, and its latents are not clipped.
  const nlohmann::json values = nlohmann::json::parse(scheduler->config());
  nlohmann::json forced = nlohmann::json::object();
  if (values.contains("steps_offset") && values["steps_offset"] != 1) forced["steps_offset"] = 1;
  if (values.contains("clip_sample") && values["clip_sample"] == true) forced["clip_sample"] = false;
  return forced.empty() ? std::move(scheduler) : make_scheduler_forced(name, config, "{}", forced.dump());
}

// The checkpoint's scheduler, or the one `wanted` with its config.
std::unique_ptr<Scheduler> load_scheduler(const Config& index, const std::filesystem::path& path, bool is_xl, const std::string& wanted) {
  // The class in the config wins over the one in the index only when the index is silent, as in Diffusers.
  const Config file = Config::read(path);
  const auto entry = index.get<std::vector<std::optional<std::string>>>("scheduler");
  const std::string name = entry.size() == 2 && entry[1] ? *entry[1] : file.get<std::string>("_class_name"), config = read_file(path);
  std::unique_ptr<Scheduler> own;
  try {
    own = make_own(name, config, is_xl);
  } catch (const UserError& error) {
    if (!wanted.empty()) return make_own(wanted, config, is_xl);
    throw UserError(cat(path.string(), ": ", error.what(), "; another scheduler can take its place: --scheduler euler (PretrainedOptions::scheduler)"));
  }
  return wanted.empty() ? std::move(own) : make_scheduler(wanted, own->config());
}

void expect_class(const Config& index, const char* component, std::initializer_list<std::string_view> known) {
  const auto entry = index.get<std::vector<std::optional<std::string>>>(component);
  if (entry.size() == 2 && entry[1] && std::ranges::count(known, *entry[1])) return;
  std::string expected;
  for (std::string_view name : known) expected += (expected.empty() ? "" : " or ") + std::string(name);
  index.unsupported(component, expected);
}

std::unique_ptr<DiffusionPipeline::Parts> load(const std::filesystem::path& path, const PretrainedOptions& options) {
  if (!std::filesystem::is_directory(path))
    throw UserError(cat("no model folder at ", path.string(), ": expected a checkpoint in Diffusers layout (a folder with model_index.json)"));
  const Config index = Config::read(path / "model_index.json");
  auto parts = std::make_unique<DiffusionPipeline::Parts>();
  parts->path = path.string();
  parts->class_name = index.one_of("_class_name", {kXL, kSD});
  parts->is_xl = parts->class_name == kXL;
  parts->force_zeros_for_empty_prompt = index.get_or<bool>("force_zeros_for_empty_prompt", true);
  for (const char* needed : {"unet", "vae", "scheduler"})
    if (!lists(index, needed)) throw UserError(cat(index.name(), ": field \"", needed, "\" is missing: a ", parts->class_name, " needs it"));
  expect_class(index, "unet", {"UNet2DConditionModel"});
  expect_class(index, "vae", {"AutoencoderKL"});

  const ModelOptions text{.dtype = options.dtype, .variant = options.variant,
                          .compile = {.dynamic = options.compile.dynamic, .use_duck_shape = options.compile.use_duck_shape}, .cache = options.cache, .idle_bytes = options.idle_bytes, .device = options.device};
  const ModelOptions image{.dtype = options.dtype, .variant = options.variant, .compile = options.compile, .cache = options.cache, .idle_bytes = options.idle_bytes, .device = options.device};
  if (lists(index, "text_encoder")) {
    expect_class(index, "text_encoder", {"CLIPTextModel", "CLIPTextModelWithProjection"});
    parts->tokenizer = CLIPTokenizer::from_pretrained(path / "tokenizer");
    parts->text_encoder = CLIPTextModel::from_pretrained(path / "text_encoder", text);
  }
  if (parts->is_xl && lists(index, "text_encoder_2")) {
    expect_class(index, "text_encoder_2", {"CLIPTextModelWithProjection"});
    parts->tokenizer_2 = CLIPTokenizer::from_pretrained(path / "tokenizer_2");
    parts->text_encoder_2 = CLIPTextModel::from_pretrained(path / "text_encoder_2", text);
  }
  if (parts->is_xl && !parts->text_encoder_2) throw UserError(cat(index.name(), ": field \"text_encoder_2\" is missing: SDXL takes its pooled prompt from it"));
  if (!parts->is_xl && !parts->text_encoder) throw UserError(cat(index.name(), ": field \"text_encoder\" is missing: a ", kSD, " needs it"));
  parts->unet = UNet2DConditionModel::from_pretrained(path / "unet", image);
  parts->vae = AutoencoderKL::from_pretrained(path / "vae", image);
  parts->scheduler = load_scheduler(index, path / "scheduler" / "scheduler_config.json", parts->is_xl, options.scheduler);
  check_agreement(*parts);
  if (lists(index, "safety_checker")) warn(path.string(), ": the safety_checker of this checkpoint is not run (Diffusers' safety_checker=None)");
  return parts;
}

std::unique_ptr<DiffusionPipeline::Parts> load_class(const std::filesystem::path& path, const PretrainedOptions& options, const std::string& name) {
  auto parts = load(path, options);
  if (parts->class_name != name)
    throw UserError(cat(path.string(), " holds a ", parts->class_name, ", not a ", name, ": use DiffusionPipeline::from_pretrained or that class"));
  return parts;
}

// In the order of the names, so that "vae" does not undo "vae.decode".
template <class Pipeline>
Pipeline compiled(Pipeline pipe, const PretrainedOptions& options) {
  for (const auto& [name, own] : options.compile_components) pipe.compile(own, {name});
  return pipe;
}

}  // namespace

DiffusionPipeline::DiffusionPipeline(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
DiffusionPipeline::DiffusionPipeline(DiffusionPipeline&&) noexcept = default;
DiffusionPipeline& DiffusionPipeline::operator=(DiffusionPipeline&&) noexcept = default;
DiffusionPipeline::~DiffusionPipeline() = default;

DiffusionPipeline DiffusionPipeline::from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options) {
  return compiled(DiffusionPipeline(load(path, options)), options);
}
StableDiffusionXLPipeline StableDiffusionXLPipeline::from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options) {
  return compiled(StableDiffusionXLPipeline(load_class(path, options, kXL)), options);
}
StableDiffusionPipeline StableDiffusionPipeline::from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options) {
  return compiled(StableDiffusionPipeline(load_class(path, options, kSD)), options);
}

const std::vector<std::string>& component_names() {
  static const std::vector<std::string> names{"unet", "vae", "vae.decode", "vae.encode", "text_encoder", "text_encoder_2"};
  return names;
}

void DiffusionPipeline::compile(const CompileOptions& options, const std::vector<std::string>& components) {
  for (const std::string& name : components) {
    if (name == "unet") {
      unet().compile(options);
    } else if (name == "vae") {
      vae().compile(options);
    } else if (name == "vae.decode") {
      vae().compile_decode(options);
    } else if (name == "vae.encode") {
      vae().compile_encode(options);
    } else if (name == "text_encoder") {
      text_encoder().compile(options);
    } else if (name == "text_encoder_2") {
      text_encoder_2().compile(options);
    } else {
      throw UsageError(cat("compile: unknown component \"", name, "\": expected unet, vae, vae.decode, vae.encode, text_encoder or text_encoder_2"));
    }
  }
}

const std::string& DiffusionPipeline::class_name() const { return parts_->class_name; }
UNet2DConditionModel& DiffusionPipeline::unet() { return *parts_->unet; }
AutoencoderKL& DiffusionPipeline::vae() { return *parts_->vae; }
Scheduler& DiffusionPipeline::scheduler() { return *parts_->scheduler; }
const Scheduler& DiffusionPipeline::scheduler() const { return *parts_->scheduler; }

CLIPTextModel& DiffusionPipeline::text_encoder() {
  if (!parts_->text_encoder) throw UsageError("this checkpoint has no text_encoder");
  return *parts_->text_encoder;
}
CLIPTextModel& DiffusionPipeline::text_encoder_2() {
  if (!parts_->text_encoder_2) throw UsageError("this checkpoint has no text_encoder_2");
  return *parts_->text_encoder_2;
}

void DiffusionPipeline::set_scheduler(std::unique_ptr<Scheduler> scheduler) {
  if (!scheduler) throw UsageError("set_scheduler: there is no scheduler to set");
  parts_->scheduler = std::move(scheduler);
}

void DiffusionPipeline::fuse_qkv_projections(bool unet, bool vae) {
  if (unet) parts_->unet->fuse_qkv_projections();
  if (vae) parts_->vae->fuse_qkv_projections();
}

void DiffusionPipeline::unfuse_qkv_projections(bool unet, bool vae) {
  if (unet) parts_->unet->unfuse_qkv_projections();
  if (vae) parts_->vae->unfuse_qkv_projections();
}

Size DiffusionPipeline::default_size() const {
  const int64_t scale = parts_->vae->scale();
  if (!parts_->is_xl && parts_->unet_component().config().outdated_sample_size) return {64 * scale, 64 * scale};
  const Size latent = parts_->unet->sample_size();
  return {latent.first * scale, latent.second * scale};
}

}  // namespace vivace
