#include "components/models.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/log.h"
#include "compiler/symbols.h"
#include "components/inputs.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"

namespace vivace {
namespace {

void need_rank(const Tensor& t, int rank, const char* name, const char* layout) {
  if (!t.defined()) throw UsageError(cat(name, " is missing: expected ", layout));
  if (t.rank() != rank) throw UsageError(cat(name, " has shape ", to_string(t.shape()), ": expected ", layout));
}

Tensor image_output(Session& session, const std::string& name, Request& request) {
  return nhwc_to_nchw(session.read(name, request).to(DType::float32));
}

}  // namespace

UNetComponent::UNetComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_unet_config(read_config(path))) {
  // Guidance makes a batch of 2; CLIP's 77 tokens.
  set_typical(request({2, config_.sample_height, config_.sample_width, 77}));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request({1, 8, 8, 1})); };
  quantize(stored_quantization(read_config(path), weights(), small));
  check_weights([&] { return std::vector{small()}; });
}

GraphRequest UNetComponent::request(const UNetShape& shape, int64_t timesteps) const {
  const int64_t factor = upsample_factor(config_);
  return {.function = cat("unet ", shape.timesteps, " time_ids ", shape.time_ids),
          .dtype = dtype(),
          .sizes = {{"batch", shape.batch}, {"height", shape.height}, {"width", shape.width}, {"tokens", shape.tokens}, {kTimesteps, timesteps}},
          .granularity = {{"height", factor}, {"width", factor}},
          .build = [config = config_, shape](const Sizes& sizes, Builder b) {
            UNetShape s = shape;
            s.batch = sizes.at("batch");
            s.height = sizes.at("height");
            s.width = sizes.at("width");
            s.tokens = sizes.at("tokens");
            if (s.timesteps > 1) s.timesteps = s.batch;
            return build_unet(config, s, std::move(b));
          }};
}

AutoencoderKLComponent::AutoencoderKLComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : VAEComponent(path, options), config_(read_autoencoder_kl_config(read_config(path))) {
  const int64_t side = 8 * config_.scale();
  set_typical(decode_request(1, 64, 64, dtype()));
  check_weights([&] { return std::vector{graph(decode_request(1, 8, 8, dtype())), graph(encode_request(1, side, side, dtype()))}; });
}

LatentFormat AutoencoderKLComponent::latents() const {
  return {config_.latent_channels, config_.scale(),      config_.out_channels, config_.scaling_factor,
          config_.shift_factor,    config_.latents_mean, config_.latents_std};
}

GraphRequest AutoencoderKLComponent::decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "decode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_vae_decoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

GraphRequest AutoencoderKLComponent::encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "encode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {{"height", config_.scale()}, {"width", config_.scale()}},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_vae_encoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

AutoencoderTinyComponent::AutoencoderTinyComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : VAEComponent(path, options), config_(read_autoencoder_tiny_config(read_config(path))) {
  const int64_t side = 8 * config_.encoder_scale();
  set_typical(decode_request(1, 64, 64, dtype()));
  check_weights([&] { return std::vector{graph(decode_request(1, 8, 8, dtype())), graph(encode_request(1, side, side, dtype()))}; });
}

LatentFormat AutoencoderTinyComponent::latents() const {
  return {config_.latent_channels, config_.scale(), config_.out_channels, config_.scaling_factor, config_.shift_factor, {}, {}};
}

GraphRequest AutoencoderTinyComponent::decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "decode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_tiny_decoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

GraphRequest AutoencoderTinyComponent::encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "encode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {{"height", config_.encoder_scale()}, {"width", config_.encoder_scale()}},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_tiny_encoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

Tensor VAEComponent::decode(const Tensor& latents, Request& request) const {
  need_rank(latents, 4, "latents", "[N, C, h, w]");
  const auto run = [&](DType dtype) {
    const SessionLease session = lease(decode_request(latents.dim(0), latents.dim(2), latents.dim(3), dtype), request);
    session->write("latents", nchw_to_nhwc(latents));
    session->run(Phase::step, request);
    Tensor image = image_output(*session, "sample", request);
    if (dtype == DType::float32) session->check_quantized();  // otherwise there is a second try
    return image;
  };
  const auto finite = [](const Tensor& t) {
    for (float x : t.floats())
      if (!std::isfinite(x)) return false;
    return true;
  };
  Tensor image = run(decode_dtype());
  if (decode_dtype() != DType::float32 && !finite(image) && finite(latents.to(DType::float32))) {
    warn("the VAE gave a NaN or an infinity in ", dtype_name(decode_dtype()), "; decoding again in float32");
    image = run(DType::float32);
  }
  return image;
}

CLIPTextComponent::CLIPTextComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_clip_text_config(read_config(path))) {
  config_.with_projection = config_.with_projection || (!config_.without_projection && weights().find("text_projection.weight"));
  set_typical(request(1, config_.max_position_embeddings, 0));
  // The rest of a whole CLIPModel.
  std::vector<std::string> ignored{"vision_model.", "visual_projection.weight", "logit_scale"};
  if (!config_.with_projection) ignored.emplace_back("text_projection.weight");
  check_weights([&] { return std::vector{graph(request(1, config_.max_position_embeddings, 0))}; }, ignored);
}

GraphRequest CLIPTextComponent::request(int64_t batch, int64_t tokens, int64_t skip) const {
  if (skip < 0 || skip > config_.num_hidden_layers)
    throw UsageError(
        cat("clip_skip asks for a hidden state ", skip, " layers before the last: ", name(), " has ", config_.num_hidden_layers, " layers"));
  if (tokens < 1 || tokens > config_.max_position_embeddings)
    throw UsageError(cat("a prompt of ", tokens, " tokens: ", name(), " takes 1 to ", config_.max_position_embeddings));
  return {.function = cat("skip ", skip),
          .dtype = dtype(),
          .sizes = {{"batch", batch}, {"tokens", tokens}},
          .granularity = {},
          .build = [config = config_, skip](const Sizes& s, Builder b) {
            return build_clip_text(config, s.at("batch"), s.at("tokens"), skip, std::move(b));
          }};
}

CLIPTextModelOutput CLIPTextComponent::encode(const Tensor& input_ids, int skip, Request& request) const {
  need_rank(input_ids, 2, "input_ids", "int32 [N, T]");
  const Tensor ids = checked_token_ids(input_ids, config_.vocab_size, name());
  const SessionLease session = lease(this->request(input_ids.dim(0), input_ids.dim(1), skip), request);
  session->write("input_ids", ids);
  session->run(Phase::step, request);
  const auto get = [&](const char* name) { return session->has_output(name) ? session->read(name, request).to(DType::float32) : Tensor(); };
  CLIPTextModelOutput output{get("last_hidden_state"), get("hidden_state"), get("hidden_state_normed"), get("pooler_output"), get("text_embeds")};
  session->check_quantized();
  return output;
}

Model::Model(std::unique_ptr<Component> component) : component_(std::move(component)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;
void Model::compile(const CompileOptions& options) { component_->compile(options); }
void Model::fuse_qkv_projections() { component_->fuse_qkv_projections(true); }
void Model::unfuse_qkv_projections() { component_->fuse_qkv_projections(false); }
void Model::compile_repeated_blocks(CompileOptions options) {
  if (options.mode == CompileMode::off) options.mode = CompileMode::default_;
  options.regions = component_->repeated_blocks();
  if (options.regions.empty()) throw UsageError(cat(component_->name(), " lists no repeated blocks: use compile_regions, or compile"));
  component_->compile(options);
}
void Model::compile_regions(CompileOptions options) {
  if (options.mode == CompileMode::off) options.mode = CompileMode::default_;
  options.regions = {"auto"};
  component_->compile(options);
}
DType Model::dtype() const { return component_->dtype(); }
int64_t Model::num_parameters() const { return component_->num_parameters(); }

UNet2DConditionModel UNet2DConditionModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return UNet2DConditionModel(std::make_unique<UNetComponent>(path, options));
}

Tensor UNet2DConditionModel::operator()(const Tensor& sample, float timestep, const Tensor& states, const AddedCondKwargs& added,
                                        const Tensor& cond) const {
  auto& unet = static_cast<const UNetComponent&>(*component_);
  need_rank(sample, 4, "sample", "[N, C, H, W]");
  need_rank(states, 3, "encoder_hidden_states", "[N, T, D]");
  const int64_t ids = added.time_ids.defined() ? added.time_ids.dim(-1) : 0;
  Request request({}, sdpa_kernel::current());
  const SessionLease session = unet.lease(unet.request({sample.dim(0), sample.dim(2), sample.dim(3), states.dim(1), 1, ids}), request);
  session->write("sample", nchw_to_nhwc(sample));
  session->write("timestep", Tensor::from({timestep}));
  if (session->has_input("step_index")) session->write("step_index", Tensor::zeros({1}, DType::int32));
  session->write("encoder_hidden_states", states);
  if (session->has_input("text_embeds")) {
    need_rank(added.text_embeds, 2, "added.text_embeds", "[N, P]");
    need_rank(added.time_ids, 2, "added.time_ids", "[N, K]");
    session->write("text_embeds", added.text_embeds);
    session->write("time_ids", added.time_ids);
  }
  if (session->has_input("timestep_cond")) {
    need_rank(cond, 2, "timestep_cond", "[N, D]");
    session->write("timestep_cond", cond);
  }
  session->run(Phase::setup, request);
  session->run(Phase::step, request);
  Tensor output = image_output(*session, "sample", request);
  session->check_quantized();
  return output;
}

std::pair<int64_t, int64_t> UNet2DConditionModel::sample_size() const {
  const UNetConfig& config = static_cast<const UNetComponent&>(*component_).config();
  return {config.sample_height, config.sample_width};
}
int64_t UNet2DConditionModel::in_channels() const { return static_cast<const UNetComponent&>(*component_).config().in_channels; }

AutoencoderKL AutoencoderKL::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AutoencoderKL(std::make_unique<AutoencoderKLComponent>(path, options));
}

AutoencoderTiny AutoencoderTiny::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AutoencoderTiny(std::make_unique<AutoencoderTinyComponent>(path, options));
}

Tensor Autoencoder::decode(const Tensor& latents) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const VAEComponent&>(*component_).decode(latents, request);
}

void Autoencoder::compile_decode(const CompileOptions& options) { component_->compile(options, "decode"); }
void Autoencoder::compile_encode(const CompileOptions& options) { component_->compile(options, "encode"); }

Autoencoder::Posterior Autoencoder::encode(const Tensor& sample) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const VAEComponent&>(*component_).encode(sample, request);
}

Autoencoder::Posterior VAEComponent::encode(const Tensor& sample, Request& request) const {
  need_rank(sample, 4, "sample", "[N, 3, H, W]");
  const SessionLease session = lease(encode_request(sample.dim(0), sample.dim(2), sample.dim(3), decode_dtype()), request);
  session->write("sample", nchw_to_nhwc(sample));
  session->run(Phase::step, request);
  if (session->has_output("latents")) return {image_output(*session, "latents", request), {}};
  const Tensor moments = image_output(*session, "moments", request);
  session->check_quantized();
  const int64_t half = moments.dim(1) / 2, plane = half * moments.dim(2) * moments.dim(3);
  Autoencoder::Posterior p;
  for (Tensor* part : {&p.mean, &p.logvar}) {
    *part = Tensor({moments.dim(0), half, moments.dim(2), moments.dim(3)}, DType::float32);
    for (int64_t n = 0; n < moments.dim(0); ++n)
      std::copy_n(moments.as<float>() + (2 * n + (part == &p.logvar)) * plane, plane, part->as<float>() + n * plane);
  }
  for (float& x : p.logvar.floats()) x = std::clamp(x, -30.f, 20.f);  // DiagonalGaussianDistribution's bounds
  return p;
}

double Autoencoder::scaling_factor() const { return static_cast<const VAEComponent&>(*component_).latents().scaling_factor; }
int64_t Autoencoder::scale() const { return static_cast<const VAEComponent&>(*component_).latents().scale; }

CLIPTextModel CLIPTextModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return CLIPTextModel(std::make_unique<CLIPTextComponent>(path, options));
}

CLIPTextModelOutput CLIPTextModel::operator()(const Tensor& input_ids, int skip) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const CLIPTextComponent&>(*component_).encode(input_ids, skip, request);
}

bool CLIPTextModel::with_projection() const { return static_cast<const CLIPTextComponent&>(*component_).config().with_projection; }

}  // namespace vivace
