#include "component_target.h"

#include <algorithm>
#include <filesystem>

#include "backends/devices.h"
#include "base/log.h"
#include "commands.h"
#include "compiler/compile.h"
#include "components/models.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"
#include "vivace/generator.h"

namespace vivace::cli {
namespace {

namespace fs = std::filesystem;

AutoencoderKLConfig vae_config(const fs::path& model) { return read_autoencoder_kl_config(Config::read(model / "vae" / "config.json")); }

int64_t checked_size(const std::optional<int64_t>& given, const char* name, int64_t otherwise, int64_t scale) {
  constexpr int64_t kLargest = 1 << 15;
  const int64_t value = given.value_or(otherwise);
  if (value <= 0 || value % scale || value > kLargest) throw UsageError(cat("--", name, " is ", value, ": expected a positive multiple of ", scale, " up to ", kLargest));
  return value;
}

std::optional<WeightMap> open_weights(const fs::path& folder, const std::string& variant) {
  const bool any = std::ranges::any_of(fs::directory_iterator(folder), [](const auto& e) { return e.path().filename().string().find(".safetensors") != std::string::npos; });
  return any ? std::optional(WeightMap::open(folder, variant)) : std::nullopt;
}

}  // namespace

void TargetOptions::add(Arguments& app) {
  app.group(Group::model);
  model = default_model();
  app.add_option("--model", model, "Checkpoint folder in Diffusers layout").show_default();
  app.add_option("--variant", variant, "Weight files of this variant, such as fp16");
  app.group(Group::draw);
  app.add_option("--height", height, "Pixels of the picture; default: the model's size");
  app.add_option("--width", width, "Pixels of the picture; default: the model's size");
  app.add_option("--batch", batch, "Batch; guidance makes 2 of a picture").show_default();
  app.group(Group::memory);
  app.add_option("--dtype", dtype, "fp32, bf16 or fp16").show_default();
  compile.add(app);
  cache.add(app);
}

const std::vector<std::string>& ComponentTarget::names() {
  static const std::vector<std::string> list{"unet", "vae.decode", "vae.encode", "text_encoder", "text_encoder_2"};
  return list;
}

ComponentTarget::ComponentTarget(const TargetOptions& options) : options_(options), dtype_(parse_dtype(options.dtype)) {
  if (std::ranges::count(names(), name()) == 0) throw UsageError(cat("unknown component \"", name(), "\": expected unet, vae.decode, vae.encode, text_encoder or text_encoder_2"));
  if (options_.batch < 1 || options_.batch > 4096) throw UsageError(cat("--batch is ", options_.batch, ": expected 1 to 4096"));
  const fs::path model = options_.model, folder = model / name().substr(0, name().find('.'));
  if (!fs::is_directory(folder)) throw UserError(cat("no component folder at ", folder.string(), ": expected a checkpoint in Diffusers layout"));
  const Config json = Config::read(folder / "config.json");
  const int64_t batch = options_.batch;
  if (name().starts_with("text")) {
    const CLIPTextConfig config = read_clip_text_config(json);
    vocabulary_ = config.vocab_size;
    request_ = clip_text_request(config, batch, config.max_position_embeddings, 1, dtype_);
  } else {
    const AutoencoderKLConfig vae = vae_config(model);
    const int64_t scale = vae.scale();
    const UNetConfig unet = read_unet_config(Config::read(model / "unet" / "config.json"));
    height_ = checked_size(options_.height, "height", unet.sample_height * scale, scale);
    width_ = checked_size(options_.width, "width", unet.sample_width * scale, scale);
    if (name().starts_with("vae") && vae.force_upcast && dtype_ == DType::float16) dtype_ = DType::float32;
    if (name() == "unet")
      request_ = unet_request(unet, {batch, height_ / scale, width_ / scale, 77}, 1, dtype_);
    else if (name() == "vae.decode")
      request_ = vae_decode_request(vae, batch, height_ / scale, width_ / scale, dtype_);
    else
      request_ = vae_encode_request(vae, batch, height_, width_, dtype_);
  }
  weights_ = open_weights(folder, options_.variant);
  compile_ = options_.compile.options(name());
  const LayerQuantization stored = weights_ ? stored_quantization(json, *weights_, [this] { return graph(); }) : LayerQuantization();
  if (!options_.compile.quantize.empty()) compile_.quantize = options_.compile.quantization(graph(), compile_, weights(), dtype_);
  compile_.quantize.insert(stored.begin(), stored.end());
}

Graph ComponentTarget::graph() const {
  return request_.build(sizes_to_build(request_, compile_.dynamic), Builder(dtype_, [this](const std::string& name) {
                          const WeightInfo* info = weights_ ? weights_->find(name) : nullptr;
                          return info ? info->dtype : dtype_;
                        }));
}

// Looking at a plan must not take a minute: what earlier searches found is shown, new ones are made only when asked for.
Plan ComponentTarget::plan() const {
  CompileOptions options = compile_;
  if (!options_.compile.autotune_seconds) options.autotune_seconds = 0;
  TuningStore tuning(CacheFolder(options_.cache.options()));
  return compile(graph(), *open_device(), options, &tuning);
}

SessionLease ComponentTarget::session(Request& request) {
  if (!weights_)
    throw UserError(cat(options_.model, "/", name().substr(0, name().find('.')), " has no weights (.safetensors): expected a checkpoint; vivace make-random makes one from configs"));
  if (!component_) component_ = std::make_unique<Component>(name(), *weights_, dtype_, compile_, CacheFolder(options_.cache.options()), open_device());
  SessionLease session = component_->lease(request_, request);
  Generator noise(0);
  for (const PlanPort& port : session->plan().inputs) {
    const TensorType& type = session->plan().values[static_cast<size_t>(port.value)].type;
    if (port.name == "step_index") {
      session->write(port.name, Tensor::zeros(type.shape, DType::int32));
    } else if (type.dtype == DType::int32) {
      Tensor ids(type.shape, DType::int32);
      for (int64_t i = 0; i < ids.numel(); ++i) ids.as<int32_t>()[i] = static_cast<int32_t>(noise.random32() % static_cast<uint64_t>(vocabulary_));
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
