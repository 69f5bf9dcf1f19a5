#include "families/cogvideox/cogvideox.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "base/log.h"
#include "families/cogvideox/video_predictor.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "families/common/guided_predictor.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kDefaultSteps = 50, kDefaultTokens = 226, kMostTokens = 4096;
constexpr double kDefaultGuidance = 6;
// Twenty minutes of what these models make a second: more is a slip of the keyboard.
constexpr int64_t kMostFrames = 1 << 14;

// The guidance of a step (use_dynamic_cfg). Diffusers takes the training timestep where the step is meant, and so it swings.
double dynamic_scale(double scale, int steps, float timestep) {
  const double left = (steps - static_cast<double>(timestep)) / steps;
  return 1 + scale * (1 - std::cos(std::numbers::pi * std::pow(left, 5))) / 2;
}

}  // namespace

CogVideoXRecipe::CogVideoXRecipe(const Parts& parts, int64_t conditions)
    : parts_(parts),
      transformer_(parts.component<CogVideoXTransformer3DComponent>("transformer")),
      vae_(parts.component<AutoencoderKLCogVideoXComponent>("vae")),
      format_(vae_.latents()) {
  const CogVideoXTransformer3DConfig& model = transformer_.config();
  const auto fail = [](const auto&... args) { throw UserError(cat(args...)); };
  check_tokenizer(parts, "tokenizer", "text_encoder");
  const int64_t read = format_.channels * (1 + conditions);
  if (model.in_channels != read || model.out_channels != format_.channels)
    fail(parts.folder("transformer"), " takes ", model.in_channels, " channels and gives ", model.out_channels,
         " (in_channels, out_channels), the latents of ", parts.folder("vae"), " have ", format_.channels, " (latent_channels): a ", parts.class_name,
         " needs a model that takes ", read, " and gives ", format_.channels);
  if (model.temporal_compression_ratio != format_.temporal_scale)
    fail(parts.folder("transformer"), " is made for latents of ", model.temporal_compression_ratio, " frames (temporal_compression_ratio), those of ",
         parts.folder("vae"), " are of ", format_.temporal_scale, ": expected the parts of one model");
  if (const int64_t width = parts.component<T5EncoderComponent>("text_encoder").config().d_model; width != model.text_embed_dim)
    fail(parts.folder("text_encoder"), " gives prompts of width ", width, " (d_model), ", parts.folder("transformer"), " takes ",
         model.text_embed_dim, " (text_embed_dim): expected the parts of one model");
}

Size CogVideoXRecipe::default_size() const {
  return {transformer_.config().sample_height * format_.scale, transformer_.config().sample_width * format_.scale};
}

int64_t CogVideoXRecipe::frames_unit() const { return 2 * transformer_.config().temporal_compression_ratio * transformer_.config().frames_a_patch(); }

void CogVideoXRecipe::tell_frames(int64_t asked, int64_t made) const {
  const int64_t unit = frames_unit(), nearest = (asked - 1 + unit / 2) / unit * unit + 1;
  warn("num_frames is ", asked, ": the VAE makes ", made, " frames of it; its numbers are ", unit, " N + 1, the nearest is ", nearest);
}

Call CogVideoXRecipe::resolve(const Prompts& prompt, const CallOptions& given) const {
  std::vector<std::string_view> taken{"negative_prompt", "prompt_embeds", "negative_prompt_embeds", "timesteps", "guidance_scale",
                                      "use_dynamic_cfg", "eta",           "max_sequence_length",    "num_frames"};
  std::ranges::copy(also_taken(), std::back_inserter(taken));
  check_taken(given, parts_.class_name, taken);
  const CogVideoXTransformer3DConfig& model = transformer_.config();
  CallOptions o = given;
  if (!o.num_frames) o.num_frames = static_cast<int>(default_frames());
  if (*o.num_frames < 1 || *o.num_frames > kMostFrames)
    throw UsageError(
        cat("num_frames is ", *o.num_frames, ": expected 1 to ", kMostFrames, ", best of all ", frames_unit(), " N + 1, as ", default_frames()));
  Call c = resolve_common(prompt, o, count_prompts(prompt, o, model.text_embed_dim), default_size(), model.patch_size * format_.scale);
  if (const int64_t length = sequence_length(c); length < 1 || length > kMostTokens)
    throw UsageError(cat("max_sequence_length is ", length, ": expected 1 to ", kMostTokens));
  if (const Tensor& negative = o.negative_prompt_embeds; negative.defined() && negative.dim(1) != sequence_length(c))
    throw UsageError(cat("negative_prompt_embeds has ", negative.dim(1), " tokens and the prompt ", sequence_length(c), ": expected as many"));
  c.guidance_scale = o.guidance_scale.value_or(kDefaultGuidance);
  c.guidance = c.guidance_scale > 1;
  c.frames = vae_.decoded_frames(model.latent_frames(*c.options.num_frames));
  transformer_request(c);  // refuses a size that the model has no positions for
  return c;
}

int64_t CogVideoXRecipe::sequence_length(const Call& call) const {
  const Tensor& given = call.options.prompt_embeds;
  return given.defined() ? given.dim(1) : call.options.max_sequence_length.value_or(kDefaultTokens);
}

int CogVideoXRecipe::steps_of(const Call& call) const {
  const CallOptions& o = call.options;
  return o.timesteps.empty() ? o.num_inference_steps.value_or(kDefaultSteps) : static_cast<int>(o.timesteps.size());
}

int64_t CogVideoXRecipe::frames_in_front(const Call& call) const {
  const CogVideoXTransformer3DConfig& model = transformer_.config();
  const int64_t patch = model.frames_a_patch(), over = model.latent_frames(*call.options.num_frames) % patch;
  return over ? patch - over : 0;
}

VideoGrid CogVideoXRecipe::grid_of(const Call& call) const {
  return {transformer_.config().latent_frames(*call.options.num_frames) + frames_in_front(call), call.height / format_.scale,
          call.width / format_.scale};
}

GraphRequest CogVideoXRecipe::transformer_request(const Call& call) const {
  // The two predictions of guidance are made one after the other: the memory is that of one, and sequences as long as a video's have no use for a
  // larger batch.
  return transformer_.request(call.images, grid_of(call), sequence_length(call), call.rows);
}

std::vector<SessionNeed> CogVideoXRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs;
  const CallOptions& o = call.options;
  if (!o.prompt_embeds.defined() || (call.guidance && !o.negative_prompt_embeds.defined()))
    needs.push_back(
        {"text_encoder", parts_.component<T5EncoderComponent>("text_encoder").request(call.prompts, sequence_length(call), false), Stage::encode});
  needs.push_back({"transformer", transformer_request(call), Stage::denoise});
  const VideoGrid grid = grid_of(call);
  if (!o.output_latent) add_needs(needs, vae_.decode_requests(grid.frames - frames_in_front(call), grid.height, grid.width), Stage::decode);
  return needs;
}

SchedulerTimesteps CogVideoXRecipe::timesteps(const Call& call) const {
  SchedulerTimesteps request{.timesteps = call.options.timesteps};
  if (request.timesteps.empty()) request.num_inference_steps = steps_of(call);
  request.eta = call.options.eta;
  return request;
}

Tensor CogVideoXRecipe::encode_texts(const Call& call, const Prompts& prompts, Request& request) const {
  // Padding is attended to, in the text encoder and in the transformer.
  return parts_.component<T5EncoderComponent>("text_encoder").encode(tokenize(parts_, "tokenizer", prompts, sequence_length(call)), {}, request);
}

Conditioning CogVideoXRecipe::encode(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  const auto given_or = [&](const Tensor& given, const auto& texts) {
    return repeat_rows(given.defined() ? given.to(DType::float32) : encode_texts(call, texts(), request), o.num_images_per_prompt);
  };
  if (call.frames != *o.num_frames) tell_frames(*o.num_frames, call.frames);
  Conditioning result;
  result.positive["encoder_hidden_states"] = given_or(o.prompt_embeds, [&] { return call.prompt; });
  if (call.guidance)
    result.negative["encoder_hidden_states"] =
        given_or(o.negative_prompt_embeds, [&] { return matching(o.negative_prompt, "", call.prompts, "negative_prompt"); });
  result.shared = transformer_.positions(grid_of(call), sequence_length(call));
  return result;
}

Tensor CogVideoXRecipe::latents(const Call& call, const Conditioning&, const Scheduler& scheduler, int, Noise& noise) const {
  const VideoGrid grid = grid_of(call);
  // Drawing in another dtype gives the same numbers, rounded.
  const Tensor drawn = initial_latents(call.options, {call.images, grid.frames, format_.channels, grid.height, grid.width}, scheduler, noise);
  return call.options.latents.defined() ? drawn : rounded(drawn);
}

std::unique_ptr<Predictor> CogVideoXRecipe::predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                                      Request& request) const {
  GuidedPredictorOptions options{.name = transformer_.name(),
                                 .guidance = guidance_of(call, Guidance::in_turn),
                                 .scale = call.guidance_scale,
                                 .steps = static_cast<int>(call.timesteps),
                                 .input = "hidden_states"};
  options.ranks = call.ranks;
  if (call.options.use_dynamic_cfg)
    options.scale_at = [scale = call.guidance_scale, steps = guided_steps(call)](float timestep) { return dynamic_scale(scale, steps, timestep); };
  std::vector<SessionLease> sessions;
  sessions.push_back(transformer_.lease(transformer_request(call), request));
  return std::make_unique<VideoPredictor>(
      transformer_.config(),
      std::make_unique<GuidedPredictor>(std::move(sessions), conditioning, timesteps_of(call, scheduler), std::move(options), request));
}

Pictures CogVideoXRecipe::decode(const Call& call, const Tensor& latents, Request& request) const {
  const int64_t front = frames_in_front(call), channels = latents.dim(2), height = latents.dim(3), width = latents.dim(4);
  const auto factor = static_cast<float>(1 / format_.scaling_factor);
  Pictures result;
  for (int64_t n = 0; n < latents.dim(0); ++n) {
    Tensor z({1, channels, latents.dim(1) - front, height, width}, DType::float32);
    float* to = z.as<float>();
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t f = front; f < latents.dim(1); ++f) {
        const float* from = latents.as<float>() + ((n * latents.dim(1) + f) * channels + c) * height * width;
        for (int64_t i = 0; i < height * width; ++i) *to++ = factor * from[i];
      }
    const std::string folder = parts_.folder("vae");
    bool told = !call.options.callback_on_frames;
    const auto tell = [&](int64_t first, const Tensor& frames) {
      if (call.options.callback_on_frames)
        call.options.callback_on_frames({static_cast<int>(n), static_cast<int>(first), static_cast<int>(call.frames), to_video(frames, folder)});
      told = true;
    };
    const Tensor sample = vae_.decode(z, request, tell);
    if (!told) tell(0, sample);
    result.frames.push_back(to_video(sample, folder));
  }
  return result;
}

std::vector<PartSpec> cogvideox_parts() {
  return {{"tokenizer", {"T5Tokenizer", "T5TokenizerFast"}},
          {"text_encoder", {"T5EncoderModel"}},
          {"transformer", {"CogVideoXTransformer3DModel"}, false, true},
          {"vae", {"AutoencoderKLCogVideoX"}, false, true},
          {"scheduler", {}}};
}

Family cogvideox_family() {
  return {.class_name = "CogVideoXPipeline",
          .parts = cogvideox_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<CogVideoXRecipe>(parts); },
          .model = "cogvideox",
          .videos = true};
}

}  // namespace vivace
