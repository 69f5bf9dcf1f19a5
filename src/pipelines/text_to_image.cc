// The call: arguments checked, prompt encoded, latents drawn, loop, decoding.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <random>

#include "base/log.h"
#include "pipelines/denoise_loop.h"
#include "pipelines/parts.h"
#include "pipelines/prompt_encoding.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// What a call comes down to once every default is filled in.
struct Call {
  int64_t images = 1, height = 0, width = 0;  // of the picture
  int64_t latent_height = 0, latent_width = 0;
  double guidance_scale = 1;
  bool guidance = false;
};

// A side beyond this is a slip of the keyboard: one float32 activation of a VAE would take hundreds of gigabytes.
constexpr int64_t kLargestSide = 1 << 15;

void check_size(int64_t value, const char* name, int64_t multiple) {
  if (value <= 0 || value % multiple || value > kLargestSide)
    throw UsageError(cat(name, " is ", value, ": expected a positive multiple of ", multiple, " (the VAE's scale) up to ", kLargestSide, "; the nearest is ",
                         std::clamp<int64_t>((std::min(value, kLargestSide) + multiple / 2) / multiple, 1, kLargestSide / multiple) * multiple));
}

Call resolve(const DiffusionPipeline& pipe, const DiffusionPipeline::Parts& parts, const Prompts& prompt, const CallOptions& o) {
  Call c;
  const int64_t scale = parts.vae->scale();
  const Size size = pipe.default_size();
  c.height = o.height ? o.height : size.first;
  c.width = o.width ? o.width : size.second;
  if (!parts.is_xl && !o.height != !o.width) {
    // As in Diffusers, which asks for both or none there.
    warn(o.height ? "height" : "width", " alone is not used: give height and width, or neither of them for ", size.second, 'x', size.first);
    c.height = size.first, c.width = size.second;
  }
  check_size(c.height, "height", scale);
  check_size(c.width, "width", scale);
  c.latent_height = c.height / scale;
  c.latent_width = c.width / scale;
  if (o.num_images_per_prompt < 1 || o.num_images_per_prompt > 4096) throw UsageError(cat("num_images_per_prompt is ", o.num_images_per_prompt, ": expected 1 or more"));
  c.images = static_cast<int64_t>(prompt.size()) * o.num_images_per_prompt;
  c.guidance_scale = o.guidance_scale.value_or(parts.is_xl ? 5.0 : 7.5);
  if (!std::isfinite(c.guidance_scale)) throw UsageError("guidance_scale is not a finite number");
  c.guidance = c.guidance_scale > 1 && parts.unet_component().config().time_cond_proj_dim == 0;
  // 0 and 1 mean the end, as everything outside of the range does in Diffusers.
  if (o.denoising_end && !(*o.denoising_end >= 0 && *o.denoising_end <= 1)) throw UsageError(cat("denoising_end is ", *o.denoising_end, ": expected a fraction between 0 and 1"));
  if (!(o.guidance_rescale >= 0 && o.guidance_rescale <= 1)) throw UsageError(cat("guidance_rescale is ", o.guidance_rescale, ": expected 0 to 1"));
  if (!o.seeds.empty() && static_cast<int64_t>(o.seeds.size()) != c.images) throw UsageError(cat("seeds has ", o.seeds.size(), " entries for ", c.images, " images: give one for each"));
  return c;
}

using TimeIds = std::array<float, 6>;

TimeIds time_ids(const Size& original, const Size& crop, const Size& target) {
  return {static_cast<float>(original.first), static_cast<float>(original.second), static_cast<float>(crop.first),
          static_cast<float>(crop.second),    static_cast<float>(target.first),    static_cast<float>(target.second)};
}

// The rows, one after another, so many times.
Tensor repeat(const std::vector<TimeIds>& rows, int64_t times) {
  Tensor ids({static_cast<int64_t>(rows.size()) * times, 6}, DType::float32);
  float* to = ids.as<float>();
  for (int64_t n = 0; n < times; ++n)
    for (const TimeIds& row : rows) to = std::ranges::copy(row, to).out;
  return ids;
}

// get_guidance_scale_embedding: sin and cos of 1000 w at `dim` / 2 frequencies (models distilled with guidance, LCM).
Tensor guidance_embedding(double w, int64_t dim, int64_t images) {
  Tensor e({images, dim}, DType::float32);
  const int64_t half = dim / 2;
  std::ranges::fill(e.floats(), 0.f);
  for (int64_t n = 0; n < images; ++n)
    for (int64_t i = 0; i < half; ++i) {
      const float frequency = std::exp(static_cast<float>(i) * -static_cast<float>(std::log(10000.0) / static_cast<double>(half - 1)));
      const float angle = static_cast<float>(w) * 1000.f * frequency;
      e.as<float>()[n * dim + i] = std::sin(angle);
      e.as<float>()[n * dim + half + i] = std::cos(angle);
    }
  return e;
}

Tensor with_negative(const Tensor& negative, const Tensor& positive, bool guidance) {
  const Tensor both[] = {negative, positive};
  return guidance ? concat_rows(both) : positive;
}

void set_conditioning(Session& session, const DiffusionPipeline::Parts& parts, const PromptEmbeddings& e, const Call& c, const CallOptions& o, const Scheduler& scheduler, int64_t timesteps, Request& request) {
  session.write("encoder_hidden_states", with_negative(e.negative_prompt_embeds, e.prompt_embeds, c.guidance));
  if (session.has_input("text_embeds")) {
    const Size size{c.height, c.width};
    const TimeIds ids = time_ids(o.original_size.value_or(size), o.crops_coords_top_left, o.target_size.value_or(size));
    const bool own_negative = o.negative_original_size && o.negative_target_size;
    const TimeIds negative_ids = own_negative ? time_ids(*o.negative_original_size, o.negative_crops_coords_top_left, *o.negative_target_size) : ids;
    session.write("text_embeds", with_negative(e.negative_pooled_prompt_embeds, e.pooled_prompt_embeds, c.guidance));
    // Diffusers repeats the pair of a negative and a positive row, where everything else is all negative rows and then all positive ones.
    session.write("time_ids", repeat(c.guidance ? std::vector{negative_ids, ids} : std::vector{ids}, c.images));
  }
  if (session.has_input("timestep_cond"))
    session.write("timestep_cond", guidance_embedding(c.guidance_scale - 1, parts.unet_component().config().time_cond_proj_dim, c.images));
  if (session.has_input("step_index")) {
    const std::span<const float> all = scheduler.timesteps();
    session.write("timestep", Tensor::from({timesteps}, all.first(static_cast<size_t>(timesteps))));
  }
  session.run(Phase::setup, request);
}

// Sets the scheduler's timesteps; how many of them to take.
int set_timesteps(Scheduler& scheduler, const CallOptions& o) {
  SchedulerTimesteps request;
  if (!o.timesteps.empty() && !o.sigmas.empty()) throw UsageError("timesteps and sigmas are both given: choose one");
  request.timesteps = o.timesteps;
  request.sigmas = o.sigmas;
  request.eta = o.eta;
  if (o.timesteps.empty() && o.sigmas.empty()) request.num_inference_steps = o.num_inference_steps;
  scheduler.set_timesteps(request);
  const auto& timesteps = scheduler.timesteps();
  if (!o.denoising_end || *o.denoising_end == 0) return static_cast<int>(timesteps.size());
  const double train = scheduler.num_train_timesteps(), cutoff = std::nearbyint(train - *o.denoising_end * train);
  return static_cast<int>(std::ranges::count_if(timesteps, [&](float t) { return t >= cutoff; }));
}

struct Noise {
  std::vector<Generator> generators;
  std::vector<Generator*> pointers;
  std::vector<uint64_t> seeds;
};

Noise make_generators(const CallOptions& o) {
  Noise noise;
  noise.seeds = o.seeds;
  if (noise.seeds.empty()) noise.seeds.push_back(o.seed ? *o.seed : std::random_device()());
  for (uint64_t seed : noise.seeds) noise.generators.emplace_back(seed);
  for (Generator& g : noise.generators) noise.pointers.push_back(&g);
  return noise;
}

// randn_tensor: one generator draws the whole batch, several draw an image each.
Tensor draw_latents(Noise& noise, const Shape& shape) {
  if (noise.generators.size() == 1) return noise.generators[0].randn(shape);
  std::vector<Tensor> parts;
  Shape one = shape;
  one[0] = 1;
  for (Generator& g : noise.generators) parts.push_back(g.randn(one));
  return concat_rows(parts);
}

// Latents -> pictures, one after the other so that the memory is that of one.
std::vector<Image> decode(const DiffusionPipeline::Parts& parts, const Tensor& latents, Request& request) {
  const AutoencoderKLConfig& config = parts.vae_component().config();
  const int64_t channels = latents.dim(1), plane = latents.dim(2) * latents.dim(3);
  const bool own_statistics = parts.is_xl && !config.latents_mean.empty() && !config.latents_std.empty();
  std::vector<Image> images;
  for (int64_t n = 0; n < latents.dim(0); ++n) {
    Tensor z = latents.rows(n, n + 1).clone();
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < plane; ++i) {
        float& x = z.as<float>()[c * plane + i];
        const auto channel = static_cast<size_t>(c);
        x = own_statistics ? x * config.latents_std[channel] / static_cast<float>(config.scaling_factor) + config.latents_mean[channel]
                           : x / static_cast<float>(config.scaling_factor);
      }
    const Tensor sample = parts.vae_component().decode(z, request);
    Tensor values = nchw_to_nhwc(sample).reshape({sample.dim(2), sample.dim(3), sample.dim(1)});
    for (float& x : values.floats()) {
      if (!std::isfinite(x)) throw UserError("the VAE gave a NaN or an infinity, in float32 too: check the weights in " + parts.path + "/vae");
      x = std::clamp(x / 2 + 0.5f, 0.f, 1.f);
    }
    images.push_back(Image::from_tensor(values));
  }
  return images;
}

}  // namespace

PipelineOutput DiffusionPipeline::operator()(const Prompts& prompt, const CallOptions& options) const {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  const auto start = Clock::now();
  Request request(options.stop, sdpa_kernel::current());
  const Parts& parts = *parts_;
  const Call call = resolve(*this, parts, prompt, options);
  PipelineOutput out;
  // The scheduler first: a wrong number of steps must not cost an encoded prompt.
  const std::unique_ptr<Scheduler> scheduler = parts.scheduler->clone();  // the pipeline's own serves other calls too
  const int steps = set_timesteps(*scheduler, options);
  auto mark = Clock::now();
  const PromptEmbeddings embeddings = encode_prompt(parts, prompt, options, call.guidance, request);
  out.timings.encode_prompt = since(mark);

  mark = Clock::now();
  const int64_t channels = parts.unet->in_channels();
  const Shape shape{call.images, channels, call.latent_height, call.latent_width};
  Noise noise = make_generators(options);
  Tensor latents = options.latents.defined() ? options.latents.to(DType::float32).clone() : draw_latents(noise, shape);
  if (latents.shape() != shape) throw UsageError(cat("latents have shape ", to_string(latents.shape()), ": expected ", to_string(shape)));
  for (float& x : latents.floats()) x *= scheduler->init_noise_sigma();
  const UNetComponent& unet = parts.unet_component();
  const int64_t timesteps = std::max(steps, 1);  // denoising_end may leave none
  std::optional<SessionLease> session(unet.lease(unet.request({call.guidance ? 2 * call.images : call.images, call.latent_height, call.latent_width, embeddings.prompt_embeds.dim(1)}, timesteps), request));
  set_conditioning(**session, parts, embeddings, call, options, *scheduler, timesteps, request);
  out.timings.prepare = since(mark);

  DenoiseRequest loop{.session = &**session, .request = &request, .scheduler = scheduler.get(), .steps = steps, .latents = std::move(latents), .guidance_scale = call.guidance_scale,
                         .guidance = call.guidance, .guidance_rescale = options.guidance_rescale, .generators = noise.pointers, .on_step_end = nullptr};
  if (options.callback_on_step_end)
    loop.on_step_end = [&](int step, float t, StepState& state) { options.callback_on_step_end(*this, step, t, state); };
  try {
    DenoiseResult result = denoise(std::move(loop));
    out.latents = std::move(result.latents);
    out.timings.steps = std::move(result.seconds);
    out.counters.loop_allocations = result.allocations;
    out.counters.loop_host_device_syncs = result.host_device_syncs;
  } catch (const UserError& error) {
    parts.unet_component().weights().check_finite();  // damaged weights are the likely cause, and a better message
    throw;
  }
  session.reset();  // others may go on while this one decodes
  mark = Clock::now();
  if (!options.output_latent) out.images = decode(parts, out.latents, request);
  out.timings.decode = since(mark);
  out.seeds = noise.seeds;
  out.counters.plans_compiled = request.counters.plans_compiled;
  out.counters.plans_resized = request.counters.plans_resized;
  out.counters.guards_failed = request.counters.guards_failed;
  out.timings.total = since(start);
  return out;
}

}  // namespace vivace
