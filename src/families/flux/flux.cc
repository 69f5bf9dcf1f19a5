#include "families/flux/flux.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/json.h"
#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "families/common/guided_predictor.h"
#include "families/common/packed_latents.h"
#include "families/common/picture_start.h"
#include "families/common/pictures.h"
#include "schedulers/numeric.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int64_t kDefaultSampleSize = 128;  // latents of the default size
constexpr int kDefaultSteps = 28, kMostSteps = 10'000, kMostTokens = 512;

// The shift of a schedule by the number of tokens: a line through two points that the scheduler's config gives (calculate_shift).
double shift_of(int64_t tokens, const std::string& scheduler_config) {
  const Config c = Config::parse(scheduler_config, "scheduler");
  const auto base_len = static_cast<double>(c.get_or<int64_t>("base_image_seq_len", 256)),
             max_len = static_cast<double>(c.get_or<int64_t>("max_image_seq_len", 4096));
  const double base = c.get_or<double>("base_shift", 0.5), most = c.get_or<double>("max_shift", 1.15);
  if (max_len == base_len) c.unsupported("max_image_seq_len", "another number than base_image_seq_len");
  const double slope = (most - base) / (max_len - base_len);
  return static_cast<double>(tokens) * slope + base - slope * base_len;
}

Tensor zeros_ids(int64_t tokens) { return Tensor::zeros({tokens, 3}); }

}  // namespace

FluxRecipe::FluxRecipe(const Parts& parts)
    : parts_(parts),
      transformer_(parts.component<FluxTransformer2DComponent>("transformer")),
      vae_(parts.component<VAEComponent>("vae")),
      format_(vae_.latents()) {
  const FluxTransformer2DConfig& model = transformer_.config();
  const auto fail = [](const auto&... args) { throw UserError(cat(args...)); };
  check_tokenizer(parts, "tokenizer", "text_encoder");
  check_tokenizer(parts, "tokenizer_2", "text_encoder_2");
  if (model.in_channels != 4 * format_.channels)
    fail(parts.folder("transformer"), " takes ", model.in_channels, " channels (in_channels), 2 x 2 patches of the latents of ", parts.folder("vae"),
         " have ", 4 * format_.channels, " (4 times latent_channels): expected the parts of one model");
  if (const int64_t out = model.patch_size * model.patch_size * model.out_channels; out != model.in_channels)
    fail(parts.folder("transformer"), " gives ", out, " channels (out_channels) and takes ", model.in_channels,
         " (in_channels): expected the same number");
  const int64_t pooled = parts.component<CLIPTextComponent>("text_encoder").config().hidden_size,
                wide = parts.component<T5EncoderComponent>("text_encoder_2").config().d_model;
  if (pooled != model.pooled_projection_dim)
    fail(parts.folder("text_encoder"), " gives a pooled prompt of width ", pooled, " (hidden_size), ", parts.folder("transformer"), " takes ",
         model.pooled_projection_dim, " (pooled_projection_dim): expected the parts of one model");
  if (wide != model.joint_attention_dim)
    fail(parts.folder("text_encoder_2"), " gives prompts of width ", wide, " (d_model), ", parts.folder("transformer"), " takes ",
         model.joint_attention_dim, " (joint_attention_dim): expected the parts of one model");
}

Size FluxRecipe::default_size() const { return {kDefaultSampleSize * format_.scale, kDefaultSampleSize * format_.scale}; }

Size FluxRecipe::wanted_size(const CallOptions& o) const {
  return {o.height ? o.height : default_size().first, o.width ? o.width : default_size().second};
}

Call FluxRecipe::resolve(const Prompts& prompt, const CallOptions& given) const {
  std::vector<std::string_view> taken{"prompt_2",
                                      "negative_prompt",
                                      "negative_prompt_2",
                                      "prompt_embeds",
                                      "negative_prompt_embeds",
                                      "pooled_prompt_embeds",
                                      "negative_pooled_prompt_embeds",
                                      "sigmas",
                                      "guidance_scale",
                                      "true_cfg_scale",
                                      "max_sequence_length"};
  std::ranges::copy(also_taken(), std::back_inserter(taken));
  check_taken(given, parts_.class_name, taken);
  const int64_t prompts = count_prompts(prompt, given, transformer_.config().joint_attention_dim);
  check_pooled(given.pooled_prompt_embeds, "pooled_prompt_embeds", given.prompt_embeds, "prompt_embeds", transformer_.config().pooled_projection_dim);
  check_pooled(given.negative_pooled_prompt_embeds, "negative_pooled_prompt_embeds", given.negative_prompt_embeds, "negative_prompt_embeds",
               transformer_.config().pooled_projection_dim);
  CallOptions o = given;
  const Size wanted = wanted_size(given);
  o.height = wanted.first / token_pixels() * token_pixels();
  o.width = wanted.second / token_pixels() * token_pixels();
  if (o.height == 0) o.height = -1;  // smaller than a token: refused as what it is
  if (o.width == 0) o.width = -1;
  Call c = resolve_common(prompt, o, prompts, default_size(), token_pixels());
  c.options = given;
  const int length = o.max_sequence_length.value_or(kMostTokens);
  if (length < 1 || length > kMostTokens) throw UsageError(cat("max_sequence_length is ", length, ": expected 1 to ", kMostTokens));
  const double scale = o.true_cfg_scale.value_or(1);
  if (!std::isfinite(scale)) throw UsageError("true_cfg_scale is not a finite number");
  c.guidance = scale > 1 && (o.negative_prompt || o.negative_prompt_embeds.defined());
  // Each text is as long as it was asked for; the two predictions are made at once, of as many tokens.
  const auto tokens = [length](const Tensor& embeds) { return embeds.defined() ? embeds.dim(1) : length; };
  if (const int64_t positive = tokens(o.prompt_embeds), negative = tokens(o.negative_prompt_embeds); c.guidance && positive != negative)
    throw UsageError(cat("the prompt has ", positive, " tokens and the negative prompt ", negative,
                         ": expected as many (a text has max_sequence_length, ", kMostTokens, " unless it is given)"));
  c.guidance_scale = o.guidance_scale.value_or(default_guidance());  // embedded
  if (steps_of(c) < 1 || steps_of(c) > kMostSteps) throw UsageError(cat("num_inference_steps is ", steps_of(c), ": expected 1 to ", kMostSteps));
  return c;
}

int64_t FluxRecipe::sequence_length(const Call& call) const {
  const Tensor& given = call.options.prompt_embeds;
  return given.defined() ? given.dim(1) : call.options.max_sequence_length.value_or(kMostTokens);
}

int64_t FluxRecipe::clip_tokens() const { return prompt_tokens(parts_, "tokenizer", "text_encoder"); }

GraphRequest FluxRecipe::transformer_request(const Call& call) const {
  const auto [rows, columns] = tokens_of(call);
  return transformer_.request(
      {.batch = call.predictions(), .image_tokens = rows * columns, .condition_tokens = condition_tokens(call), .tokens = sequence_length(call)},
      call.rows);
}

std::vector<SessionNeed> FluxRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs;
  const CallOptions& o = call.options;
  if (!o.prompt_embeds.defined() || (call.guidance && !o.negative_prompt_embeds.defined())) {
    needs.push_back({"text_encoder", parts_.component<CLIPTextComponent>("text_encoder").request(call.prompts, clip_tokens(), 0), Stage::encode});
    needs.push_back({"text_encoder_2", parts_.component<T5EncoderComponent>("text_encoder_2").request(call.prompts, sequence_length(call), false),
                     Stage::encode});
  }
  needs.push_back({"transformer", transformer_request(call), Stage::denoise});
  const int64_t scale = format_.scale;
  if (!o.output_latent) add_needs(needs, vae_.decode_requests(1, call.height / scale, call.width / scale), Stage::decode);
  return needs;
}

int FluxRecipe::steps_of(const Call& call) const {
  const CallOptions& o = call.options;
  return o.sigmas.empty() ? o.num_inference_steps.value_or(kDefaultSteps) : static_cast<int>(o.sigmas.size());
}

SchedulerTimesteps FluxRecipe::timesteps(const Call& call) const {
  const CallOptions& o = call.options;
  SchedulerTimesteps request{.sigmas = o.sigmas};
  if (leaves_flow_sigmas() && Config::parse(parts_.scheduler->config(), "scheduler").get_or<bool>("use_flow_sigmas", false)) {
    if (!o.sigmas.empty()) warn("sigmas are not used: the scheduler makes those of a flow itself (use_flow_sigmas)");
    request = {.num_inference_steps = o.num_inference_steps.value_or(kDefaultSteps)};
  } else if (o.sigmas.empty()) {
    request.sigmas = linspace(1, 1. / steps_of(call), steps_of(call));
  }
  const auto [rows, columns] = tokens_of(call);
  request.mu = shift_of(rows * columns, parts_.scheduler->config());
  return request;
}

// The scheduler is given sigmas in any case.
std::optional<int> FluxRecipe::num_inference_steps(const Call& call) const {
  return call.options.sigmas.empty() ? std::optional(steps_of(call)) : std::nullopt;
}

FluxRecipe::Encoded FluxRecipe::encode_texts(const Call& call, const Prompts& first, const Prompts& second, Request& request) const {
  auto& clip = parts_.component<CLIPTextComponent>("text_encoder");
  auto& t5 = parts_.component<T5EncoderComponent>("text_encoder_2");
  Encoded result;
  result.pooled = clip.encode(tokenize(parts_, "tokenizer", first, clip_tokens()), 0, request).pooler_output;
  // Padding is attended to, in the text encoder and in the transformer.
  result.embeds = t5.encode(tokenize(parts_, "tokenizer_2", second, sequence_length(call)), {}, request);
  return result;
}

Conditioning FluxRecipe::encode(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  const auto put = [&](std::map<std::string, Tensor>& inputs, const Encoded& encoded) {
    inputs["encoder_hidden_states"] = repeat_rows(encoded.embeds, o.num_images_per_prompt);
    inputs["pooled_projections"] = repeat_rows(encoded.pooled, o.num_images_per_prompt);
  };
  if (const auto [height, width] = wanted_size(o); height != call.height || width != call.width)
    warn("a picture of ", height, " x ", width, " is made ", call.height, " x ", call.width, ": height and width are multiples of ", token_pixels());
  if (o.guidance_scale > 1. && !transformer_.config().guidance_embeds)
    warn("guidance_scale changes nothing: ", transformer_.name(), " is not told of it (guidance_embeds)");
  const auto second = [](const Prompts& prompts) { return prompts.empty() ? std::nullopt : std::optional(prompts); };
  Conditioning result;
  if (o.prompt_embeds.defined())
    put(result.positive, {o.prompt_embeds.to(DType::float32), o.pooled_prompt_embeds.to(DType::float32)});
  else
    put(result.positive, encode_texts(call, call.prompt, matching(second(o.prompt_2), call.prompt, call.prompts, "prompt_2", true), request));
  if (call.guidance && o.negative_prompt_embeds.defined()) {
    put(result.negative, {o.negative_prompt_embeds.to(DType::float32), o.negative_pooled_prompt_embeds.to(DType::float32)});
  } else if (call.guidance) {
    const Prompts first = matching(o.negative_prompt, "", call.prompts, "negative_prompt");
    put(result.negative, encode_texts(call, first, matching(o.negative_prompt_2, first, call.prompts, "negative_prompt_2", true), request));
  }
  if (transformer_.config().guidance_embeds) {
    Tensor guidance({call.images}, DType::float32);
    for (float& g : guidance.floats()) g = static_cast<float>(call.guidance_scale);
    result.positive["guidance"] = guidance;
  }
  const auto [rows, columns] = tokens_of(call);
  result.shared["img_ids"] = latent_image_ids(rows, columns);
  result.shared["txt_ids"] = zeros_ids(sequence_length(call));
  return result;
}

Tensor FluxRecipe::latents(const Call& call, const Conditioning&, const Scheduler&, int, Noise& noise) const {
  const auto [rows, columns] = tokens_of(call);
  const Shape packed{call.images, rows * columns, transformer_.config().in_channels};
  const Tensor& given = call.options.latents;
  if (given.defined() && given.shape() != packed)
    throw UsageError(cat("latents have shape ", to_string(given.shape()), ": expected ", to_string(packed), " (packed)"));
  if (given.defined()) return given.to(DType::float32).clone();
  return pack_latents(draw(call, noise));
}

// Drawing in another dtype gives the same numbers, rounded.
Tensor FluxRecipe::draw(const Call& call, Noise& noise) const {
  const auto [rows, columns] = tokens_of(call);
  return noise.draw({call.images, format_.channels, 2 * rows, 2 * columns}).to(transformer_.dtype()).to(DType::float32);
}

Autoencoder::Posterior FluxRecipe::encode_pictures(const std::vector<Image>& images, int64_t height, int64_t width, Request& request) const {
  std::vector<Tensor> samples;
  samples.reserve(images.size());
  for (const Image& image : images) samples.push_back(to_sample(image, height, width));
  return encode_each(samples, vae_, request);
}

Tensor FluxRecipe::scaled(Tensor latents) const {
  for (float& x : latents.floats()) x = (x - static_cast<float>(format_.shift_factor)) * static_cast<float>(format_.scaling_factor);
  return latents;
}

std::unique_ptr<Predictor> FluxRecipe::predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                                 Request& request) const {
  const DType dtype = transformer_.dtype();
  // As Diffusers divides it, rounded before and after in the model's dtype.
  const auto fraction = [dtype](float t) {
    const Tensor rounded = Tensor::from({t}).to(dtype).to(DType::float32);
    return Tensor::from({rounded.as<float>()[0] / 1000.f}).to(dtype).to(DType::float32).as<float>()[0];
  };
  const GuidedPredictorOptions options{.name = transformer_.name(),
                                       .scale = call.options.true_cfg_scale.value_or(1),
                                       .timestep = fraction,
                                       .input = "hidden_states",
                                       .channels_last = false};
  return guided_by_halves(transformer_.lease(transformer_request(call), request), call, conditioning, scheduler, options, request);
}

Pictures FluxRecipe::decode(const Call& call, const Tensor& latents, Request& request) const {
  const auto [rows, columns] = tokens_of(call);
  const auto latents_of = [&, rows = rows, columns = columns](int64_t n) {
    Tensor z = unpack_latents(latents.rows(n, n + 1), 2 * rows, 2 * columns);
    for (float& x : z.floats()) x = x / static_cast<float>(format_.scaling_factor) + static_cast<float>(format_.shift_factor);
    return z;
  };
  return {.images = decode_each(latents.dim(0), latents_of, vae_, parts_.folder("vae"), request), .frames = {}};
}

std::vector<PartSpec> flux_parts() {
  return {{"tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"}},
          {"text_encoder", {"CLIPTextModel"}},
          {"tokenizer_2", {"T5Tokenizer", "T5TokenizerFast"}},
          {"text_encoder_2", {"T5EncoderModel"}},
          {"transformer", {"FluxTransformer2DModel"}, false, true},
          {"vae", {"AutoencoderKL", "AutoencoderTiny"}, false, true},
          {"scheduler", {}}};
}

Family flux_family() {
  return {.class_name = "FluxPipeline",
          .parts = flux_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<FluxRecipe>(parts); },
          .model = "flux"};
}

}  // namespace vivace
