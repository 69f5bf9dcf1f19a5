#include "families/aura_flow/aura_flow.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "families/common/guided_predictor.h"
#include "families/common/pictures.h"
#include "ops/positions.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kDefaultSteps = 50, kDefaultTokens = 256, kMostTokens = 4096;
constexpr double kDefaultGuidance = 3.5;

}  // namespace

AuraFlowRecipe::AuraFlowRecipe(const Parts& parts)
    : parts_(parts),
      transformer_(parts.component<AuraFlowTransformer2DComponent>("transformer")),
      vae_(parts.component<VAEComponent>("vae")),
      format_(vae_.latents()) {
  const AuraFlowTransformer2DConfig& model = transformer_.config();
  const auto fail = [](const auto&... args) { throw UserError(cat(args...)); };
  check_tokenizer(parts, "tokenizer", "text_encoder");
  if (model.in_channels != format_.channels || model.out_channels != format_.channels)
    fail(parts.folder("transformer"), " takes ", model.in_channels, " channels and gives ", model.out_channels,
         " (in_channels, out_channels), the latents of ", parts.folder("vae"), " have ", format_.channels,
         " (latent_channels): expected the same number");
  if (const int64_t width = parts.component<T5EncoderComponent>("text_encoder").config().d_model; width != model.joint_attention_dim)
    fail(parts.folder("text_encoder"), " gives prompts of width ", width, " (d_model), ", parts.folder("transformer"), " takes ",
         model.joint_attention_dim, " (joint_attention_dim): expected the parts of one model");
}

Call AuraFlowRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  // A mask of given embeddings would change nothing: the model attends to all of them.
  static constexpr std::string_view kTaken[] = {"negative_prompt", "prompt_embeds",  "negative_prompt_embeds",
                                                "sigmas",          "guidance_scale", "max_sequence_length"};
  check_taken(o, parts_.class_name, kTaken);
  const int64_t multiple = transformer_.config().patch_size * format_.scale;
  Call c = resolve_common(prompt, o, count_prompts(prompt, o, transformer_.config().joint_attention_dim), default_size(), multiple);
  const int64_t side = square_side(transformer_.config().pos_embed_max_size);
  if (c.height / multiple > side || c.width / multiple > side)
    throw UsageError(cat("a picture of ", c.height, " x ", c.width, ": ", transformer_.name(), " knows positions up to ", side * multiple, " x ",
                         side * multiple, " (pos_embed_max_size)"));
  if (const int64_t length = sequence_length(c); length < 1 || length > kMostTokens)
    throw UsageError(cat("max_sequence_length is ", length, ": expected 1 to ", kMostTokens));
  if (const Tensor& negative = o.negative_prompt_embeds; negative.defined() && negative.dim(1) != sequence_length(c))
    throw UsageError(cat("negative_prompt_embeds has ", negative.dim(1), " tokens and the prompt ", sequence_length(c), ": expected as many"));
  c.guidance_scale = o.guidance_scale.value_or(kDefaultGuidance);
  c.guidance = c.guidance_scale > 1;
  return c;
}

int64_t AuraFlowRecipe::sequence_length(const Call& call) const {
  const Tensor& given = call.options.prompt_embeds;
  return given.defined() ? given.dim(1) : call.options.max_sequence_length.value_or(kDefaultTokens);
}

GraphRequest AuraFlowRecipe::transformer_request(const Call& call) const {
  return transformer_.request({call.predictions(), call.height / format_.scale, call.width / format_.scale, sequence_length(call)}, call.rows);
}

std::vector<SessionNeed> AuraFlowRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs;
  const CallOptions& o = call.options;
  if (!o.prompt_embeds.defined() || (call.guidance && !o.negative_prompt_embeds.defined()))
    needs.push_back(
        {"text_encoder", parts_.component<T5EncoderComponent>("text_encoder").request(call.prompts, sequence_length(call), true), Stage::encode});
  needs.push_back({"transformer", transformer_request(call), Stage::denoise});
  if (!o.output_latent) add_needs(needs, vae_.decode_requests(1, call.height / format_.scale, call.width / format_.scale), Stage::decode);
  return needs;
}

SchedulerTimesteps AuraFlowRecipe::timesteps(const Call& call) const {
  SchedulerTimesteps request{.sigmas = call.options.sigmas};
  if (request.sigmas.empty()) request.num_inference_steps = call.options.num_inference_steps.value_or(kDefaultSteps);
  return request;
}

Tensor AuraFlowRecipe::encode_texts(const Call& call, const Prompts& prompts, Request& request) const {
  Tensor mask;
  const Tensor ids = tokenize(parts_, "tokenizer", prompts, sequence_length(call), &mask);
  Tensor embeds = parts_.component<T5EncoderComponent>("text_encoder").encode(ids, mask, request);
  const int64_t width = embeds.dim(2);
  for (int64_t i = 0; i < embeds.numel(); ++i) embeds.as<float>()[i] *= mask.as<float>()[i / width];
  return embeds;
}

Conditioning AuraFlowRecipe::encode(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  const auto given_or = [&](const Tensor& given, const auto& texts) {
    return repeat_rows(given.defined() ? given.to(DType::float32) : encode_texts(call, texts(), request), o.num_images_per_prompt);
  };
  Conditioning result;
  result.positive["encoder_hidden_states"] = given_or(o.prompt_embeds, [&] { return call.prompt; });
  if (call.guidance)
    result.negative["encoder_hidden_states"] =
        given_or(o.negative_prompt_embeds, [&] { return matching(o.negative_prompt, "", call.prompts, "negative_prompt"); });
  return result;
}

Tensor AuraFlowRecipe::latents(const Call& call, const Conditioning&, const Scheduler& scheduler, int, Noise& noise) const {
  const Tensor drawn =
      initial_latents(call.options, {call.images, format_.channels, call.height / format_.scale, call.width / format_.scale}, scheduler, noise);
  return call.options.latents.defined() ? drawn : drawn.to(transformer_.dtype()).to(DType::float32);
}

std::unique_ptr<Predictor> AuraFlowRecipe::predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                                     Request& request) const {
  const GuidedPredictorOptions options{
      .name = transformer_.name(),
      .scale = call.guidance_scale,
      .timestep = [dtype = transformer_.dtype()](float t) { return Tensor::from({t / 1000.f}).to(dtype).to(DType::float32).as<float>()[0]; },
      .input = "hidden_states"};
  return guided_by_halves(transformer_.lease(transformer_request(call), request), call, conditioning, scheduler, options, request);
}

Pictures AuraFlowRecipe::decode(const Call&, const Tensor& latents, Request& request) const {
  const auto latents_of = [&](int64_t n) {
    Tensor z = latents.rows(n, n + 1).clone();
    for (float& x : z.floats()) x /= static_cast<float>(format_.scaling_factor);
    return z;
  };
  return {.images = decode_each(latents.dim(0), latents_of, vae_, parts_.folder("vae"), request), .frames = {}};
}

Family aura_flow_family() {
  return {.class_name = "AuraFlowPipeline",
          .parts = {{"tokenizer", {"LlamaTokenizer", "LlamaTokenizerFast"}},
                    {"text_encoder", {"UMT5EncoderModel", "T5EncoderModel"}},
                    {"transformer", {"AuraFlowTransformer2DModel"}, false, true},
                    {"vae", {"AutoencoderKL"}, false, true},
                    {"scheduler", {}}},
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<AuraFlowRecipe>(parts); }};
}

}  // namespace vivace
