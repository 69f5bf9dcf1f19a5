#include "component_target.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "backends/devices.h"
#include "base/log.h"
#include "commands.h"
#include "compiler/compile.h"
#include "components/model_classes.h"
#include "families/common/arguments.h"
#include "passes/passes.h"
#include "pipelines/layer_names.h"
#include "recipes.h"
#include "vivace/error.h"
#include "vivace/generator.h"

namespace vivace::cli {
namespace {

// "vae.decode" of a class whose functions can be compiled on their own, "unet" of any other.
std::string target_name(const DiffusionPipeline::Loaded& loaded, const SessionNeed& need) {
  const ModelClass* model = find_model_class(loaded.parts.classes.at(std::string(need.part)));
  return model && std::ranges::count(model->functions, need.request.function) ? cat(need.part, '.', need.request.function) : std::string(need.part);
}

std::string part_of(const std::string& target) { return target.substr(0, target.find('.')); }

// The VAE that "vae.decode" is of; nullptr of any other component.
const AutoencoderComponent* vae_of(const DiffusionPipeline::Loaded& loaded, const std::string& target) {
  const std::string part = part_of(target);
  return loaded.parts.has(part) ? dynamic_cast<const AutoencoderComponent*>(&loaded.parts.model(part).component()) : nullptr;
}

TargetOptions with_recipe(TargetOptions options) {
  if (!options.recipe.empty()) apply_recipe(options.recipe, open_device(options.device)->target(), options.compile, options.dtype);
  return options;
}

int64_t positive(const std::optional<int64_t>& given, const char* name) {
  if (given && *given <= 0) throw UsageError(cat("--", name, " is ", *given, ": expected a positive number of pixels"));
  return given.value_or(0);
}

// Token ids that the model's table has.
int64_t vocabulary_of(const Graph& graph) {
  int64_t size = std::numeric_limits<int32_t>::max();
  for (const Node& node : graph.nodes)
    if (node.op == Op::embedding && graph[node.inputs[0]].op == Op::input) size = std::min(size, graph[node.inputs[1]].shape[0]);
  return size;
}

}  // namespace

void TargetOptions::add(Arguments& app) {
  app.group(Group::model);
  model = default_model();
  app.add_option("--model", model, "Checkpoint: a folder in Diffusers layout, or one file").show_default();
  files.add(app);
  app.add_option("--variant", variant, "Weight files of this variant, such as fp16");
  app.group(Group::draw);
  app.add_option("--height", height, "Pixels of the picture; default: the model's size");
  app.add_option("--width", width, "Pixels of the picture; default: the model's size");
  app.add_option("--num-frames", num_frames, "Frames of a video; default: the pipeline's, 49 for CogVideoX");
  app.add_option("--max-sequence-length", max_sequence_length, "Tokens of a prompt for T5; default: the pipeline's, 512 for FLUX");
  app.add_option("--batch", batch, "Batch; guidance makes 2 of a picture, and info takes it so where a call has any").show_default();
  app.group(Group::memory);
  app.add_option("--device", device, "What to run on: cpu, cuda or cuda:N").show_default();
  add_setting(app, profile, dtype, compile);
  add_recipe(app, recipe).excludes(app.option("--profile"));
  cache.add(app);
}

ComponentTarget::ComponentTarget(const TargetOptions& options) : options_(with_recipe(options)) {
  PretrainedOptions pretrained = loading_options(options_.profile, options_.model, options_.dtype, options_.compile);
  pretrained.variant = options.variant;
  pretrained.cache = options.cache.options();
  pretrained.device = options.device;
  options.files.apply(pretrained);
  loaded_ = load_pipeline(options.model, pretrained, true);
  if (options_.batch < 1 || options_.batch > 4096) throw UsageError(cat("--batch is ", options_.batch, ": expected 1 to 4096"));
  // A VAE takes sizes that no call has, which its denoiser refuses.
  const AutoencoderComponent* const alone = options_.of_call ? nullptr : vae_of(*loaded_, name());
  const Size size{positive(options_.height, "height"), positive(options_.width, "width")};
  // A call of that many pictures, without guidance: what it takes, at the batch that was asked for.
  CallOptions blank = loaded_->recipe->blank_call(alone ? Size{} : size);
  blank.num_frames = options_.num_frames;
  blank.max_sequence_length = options_.max_sequence_length;
  const auto resolve = [&] { call_ = loaded_->recipe->resolve(Prompts(std::vector<std::string>(static_cast<size_t>(options_.batch))), blank); };
  resolve();
  if (options_.batch_of_call && call_.guidance) {
    options_.batch = 2;
    resolve();
  }
  call_.guidance = false;
  height_ = alone && size.first ? size.first : call_.height;
  width_ = alone && size.second ? size.second : call_.width;
  if (options_.vae_tiling && loaded_->parts.has("vae"))
    if (auto* vae = dynamic_cast<AutoencoderComponent*>(&loaded_->parts.model("vae").component())) vae->set_tiling(true);
  const auto add_name = [&](const std::string& name) {
    if (std::ranges::count(names_, name) == 0) names_.push_back(name);
  };
  for (SessionNeed& need : loaded_->recipe->sessions_for(call_)) {
    const std::string target = target_name(*loaded_, need);
    add_name(target);
    if (options_.component.empty() && need.stage == Stage::denoise) options_.component = target;
    if (target != name()) continue;
    stage_ = need.stage;
    if (!alone) add(std::move(need.request));
  }
  for (const auto& [part, class_name] : loaded_->parts.classes)
    if (const ModelClass* model = find_model_class(class_name))
      for (const std::string_view function : model->functions) add_name(cat(part, '.', function));
  std::string known;
  for (const std::string& one : names_) known += cat(known.empty() ? "" : ", ", one);
  if (std::ranges::count(names_, name()) == 0) throw UsageError(cat("unknown component \"", name(), "\": expected one of ", known));
  for (const std::string& quantized : options_.compile.quantize_component)
    if (std::ranges::none_of(names_, [&](const std::string& one) { return part_of(one) == quantized; }))
      throw UsageError(cat("--quantize-component is \"", quantized, "\": expected one of ", known, " (without what is behind a dot)"));
  if (requests_.empty()) ask(*vae_of(*loaded_, name()));
  const std::string part = part_of(name());
  request_ = requests_.back();
  component_ = &loaded_->parts.model(part).component();
  if (options_.profile.empty())
    component_->compile(options_.compile.options(name()));
  else if (weights())
    check_layer_names(loaded_->parts, pretrained.compile);
  if (part == denoiser_of(*loaded_->family)) options_.compile.compile_blocks(loaded_->parts.model(part), name());
  // The component that was asked for, unless others are named.
  if (options_.compile.quantizes(part, true))
    component_->quantize(options_.compile.quantization(graph(), component_->options(), weights(), request_.dtype));
  compile_ = component_->options();
}

void ComponentTarget::add(GraphRequest request) {
  request.sizes["batch"] = options_.batch;
  if (std::ranges::none_of(requests_, [&](const GraphRequest& r) { return r.function == request.function && r.sizes == request.sizes; }))
    requests_.push_back(std::move(request));
}

void ComponentTarget::ask(const AutoencoderComponent& vae) {
  const LatentFormat format = vae.latents();
  const int64_t frames = call_.options.num_frames.value_or(1);
  check_size(height_, "height", format.scale);
  check_size(width_, "width", format.scale);
  for (GraphRequest& request : name().ends_with(".decode")
                                   ? vae.decode_requests((frames - 1) / format.temporal_scale + 1, height_ / format.scale, width_ / format.scale)
                                   : vae.encode_requests(frames, height_, width_))
    add(std::move(request));
}

// Looking at a plan must not take a minute: what earlier searches found is shown, new ones are made only when asked for.
Plan ComponentTarget::plan(const GraphRequest& request) const {
  CompileOptions options = compile_;
  if (!options_.compile.autotune_seconds) options.autotune_seconds = 0;
  TuningStore tuning(CacheFolder(options_.cache.options()));
  Graph graph = component_->graph(request);
  resolve_weights(graph, component_->weights());
  return compile(std::move(graph), device(), options, &tuning);
}

std::vector<Plan> ComponentTarget::plans() const {
  std::vector<Plan> all;
  all.reserve(requests_.size());
  for (const GraphRequest& request : requests_) all.push_back(plan(request));
  return all;
}

SessionLease ComponentTarget::session(Request& request) {
  if (!weights())
    throw UserError(cat(options_.model, "/", component_->name(),
                        " has no weights (.safetensors): expected a checkpoint; vivace make-random makes one from configs"));
  SessionLease session = component_->lease(request_, request);
  const int64_t vocabulary = vocabulary_of(graph());
  Generator noise(0);
  for (const PlanPort& port : session->plan().inputs) {
    const TensorType& type = session->plan().values[static_cast<size_t>(port.value)].type;
    if (port.name == "step_index") {
      session->write(port.name, Tensor::zeros(type.shape, DType::int32));
    } else if (type.dtype == DType::int32) {
      Tensor ids(type.shape, DType::int32);
      for (int64_t i = 0; i < ids.numel(); ++i) ids.as<int32_t>()[i] = static_cast<int32_t>(noise.random32() % static_cast<uint64_t>(vocabulary));
      session->write(port.name, ids);
    } else if (port.name == "timestep") {
      session->write(port.name, Tensor::full(type.shape, 500));
    } else if (port.name == "time_ids") {
      Tensor ids = Tensor::zeros(type.shape);
      const int64_t columns = type.shape.back();
      for (int64_t i = 0; i < ids.numel(); ++i) {
        const int64_t c = i % columns;
        ids.as<float>()[i] = c == 0 || c == 4 ? static_cast<float>(height_) : c == 1 || c == 5 ? static_cast<float>(width_) : 0.f;
      }
      session->write(port.name, ids);
    } else {
      session->write(port.name, noise.randn(type.shape));
    }
  }
  return session;
}

}  // namespace vivace::cli
