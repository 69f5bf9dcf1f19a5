#include "components/models.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "backends/devices.h"
#include "base/log.h"
#include "compiler/symbols.h"
#include "components/inputs.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"

namespace vivace {

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
  Sizes all{{"batch", shape.batch}, {"height", shape.height}, {"width", shape.width}, {"tokens", shape.tokens}, {kTimesteps, timesteps}};
  if (shape.controlled) all.merge(level_sizes(config_, shape));
  return {.function = cat("unet ", shape.timesteps, " time_ids ", shape.time_ids, shape.controlled ? " controlled" : ""),
          .dtype = dtype(),
          .sizes = std::move(all),
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

CLIPTextComponent::CLIPTextComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_clip_text_config(read_config(path))) {
  // The pipeline's word counts before the config's, which may be of the whole that the encoder was taken from.
  if (!options.class_name.empty())
    config_.with_projection = options.class_name == "CLIPTextModelWithProjection";
  else
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
  return {.function = cat("skip ", skip, config_.with_projection ? " projected" : ""),
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
void Model::to(const std::string& device) { component_->to(open_device(device)); }
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

void write_denoiser_inputs(Session& session, const Tensor& sample, float timestep, const Tensor& states, const AddedCondKwargs& added) {
  session.write("sample", nchw_to_nhwc(sample));
  session.write("timestep", Tensor::from({timestep}));
  if (session.has_input("step_index")) session.write("step_index", Tensor::zeros({1}, DType::int32));
  session.write("encoder_hidden_states", states);
  if (session.has_input("text_embeds")) {
    need_rank(added.text_embeds, 2, "added.text_embeds", "[N, P]");
    need_rank(added.time_ids, 2, "added.time_ids", "[N, K]");
    session.write("text_embeds", added.text_embeds);
    session.write("time_ids", added.time_ids);
  }
}

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
  write_denoiser_inputs(*session, sample, timestep, states, added);
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

CLIPTextModel CLIPTextModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return CLIPTextModel(std::make_unique<CLIPTextComponent>(path, options));
}

CLIPTextModelOutput CLIPTextModel::operator()(const Tensor& input_ids, int skip) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const CLIPTextComponent&>(*component_).encode(input_ids, skip, request);
}

bool CLIPTextModel::with_projection() const { return static_cast<const CLIPTextComponent&>(*component_).config().with_projection; }

}  // namespace vivace
