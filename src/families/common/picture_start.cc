#include "families/common/picture_start.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/log.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

bool is_inside(std::optional<double> fraction) { return fraction && *fraction > 0 && *fraction < 1; }

// The training timestep that a fraction of the schedule is at.
double cutoff(double fraction, const Scheduler& scheduler) {
  const double train = scheduler.num_train_timesteps();
  return std::nearbyint(train - fraction * train);  // halves to even, as Python rounds
}

}  // namespace

int steps_left(int steps, double strength) { return std::min(static_cast<int>(steps * strength), steps); }

StepRange steps_of_strength(int steps, double strength, const Scheduler& scheduler, bool counts_steps) {
  const int last = static_cast<int>(scheduler.timesteps().size()), first = (steps - steps_left(steps, strength)) * scheduler.order();
  if (first >= last || (counts_steps && steps_left(steps, strength) < 1))
    throw UsageError(cat("a strength of ", strength, " leaves none of ", steps, " steps: expected more of one or the other"));
  return {first, last};
}

int first_step(std::optional<double> start, const Scheduler& scheduler) {
  if (!is_inside(start)) return 0;
  const auto all = static_cast<int>(scheduler.timesteps().size());
  auto left = static_cast<int>(std::ranges::count_if(scheduler.timesteps(), [&](float t) { return t < cutoff(*start, scheduler); }));
  // A second-order scheduler has each timestep but the highest twice: a run begins with the first of them.
  if (scheduler.order() == 2 && left % 2 == 0) ++left;
  return all - std::min(left, all);
}

int last_step(std::optional<double> end, int first, const Scheduler& scheduler) {
  const std::span<const float> left = std::span(scheduler.timesteps()).subspan(static_cast<size_t>(first));
  if (!is_inside(end)) return first + static_cast<int>(left.size());
  return first + static_cast<int>(std::ranges::count_if(left, [&](float t) { return t >= cutoff(*end, scheduler); }));
}

Size size_of(const ImageInput& image, int64_t scale) {
  if (image.latents.defined()) {
    if (image.latents.rank() != 4)
      throw UsageError(cat("latents given as image have shape ", to_string(image.latents.shape()), ": expected [N, C, h, w]"));
    return {image.latents.dim(2) * scale, image.latents.dim(3) * scale};
  }
  const Image& first = image.images.front();
  if (first.height() < scale || first.width() < scale)
    throw UsageError(cat("image has ", first.width(), " x ", first.height(), " pixels: expected at least ", scale, " x ", scale));
  return {first.height() / scale * scale, first.width() / scale * scale};
}

void check_input(const ImageInput& input, const char* name, int64_t images, int64_t channels, int64_t latent_height, int64_t latent_width) {
  const int64_t count = input.count();
  if (count < 1 || images % count != 0)
    throw UsageError(cat(name, " has ", count, count == 1 ? " entry" : " entries", " for ", images, images == 1 ? " image" : " images",
                         ": expected a number that divides it"));
  for (const Image& image : input.images)
    if (image.empty()) throw UsageError(cat(name, " has an entry that is none"));
  if (input.latents.defined() && input.latents.shape() != Shape{count, channels, latent_height, latent_width})
    throw UsageError(cat("latents given as ", name, " have shape ", to_string(input.latents.shape()), ": expected ",
                         to_string(Shape{count, channels, latent_height, latent_width})));
}

Tensor in_turns(const Tensor& rows, int64_t images) {
  if (rows.dim(0) == images) return rows;
  Shape shape = rows.shape();
  shape[0] = images;
  Tensor out(shape, DType::float32);
  for (int64_t n = 0; n < images; n += rows.dim(0)) std::memcpy(out.as<float>() + n * (rows.numel() / rows.dim(0)), rows.data(), rows.bytes());
  return out;
}

Autoencoder::Posterior encode_each(const std::vector<Tensor>& samples, const AutoencoderComponent& vae, Request& request) {
  std::vector<Tensor> means, logvars;
  for (const Tensor& sample : samples) {
    const Autoencoder::Posterior one = vae.encode(sample, request);
    const int64_t scale = vae.latents().scale, height = sample.dim(-2), width = sample.dim(-1);
    if (one.mean.dim(-2) != height / scale || one.mean.dim(-1) != width / scale)
      throw UsageError(cat("tiles of a picture of ", height, " x ", width, " pixels (height, width) make latents of ", one.mean.dim(-2), " x ",
                           one.mean.dim(-1), ", and not of ", height / scale, " x ", width / scale, ": choose another size, or no tiling"));
    means.push_back(one.mean);
    if (one.logvar.defined()) logvars.push_back(one.logvar);
  }
  return {concat_rows(means), logvars.empty() ? Tensor() : concat_rows(logvars)};
}

Tensor sampled(const Autoencoder::Posterior& posterior, const Tensor& drawn) {
  Tensor x = posterior.mean.clone();
  if (!posterior.logvar.defined()) return x;
  for (int64_t i = 0; i < x.numel(); ++i) x.as<float>()[i] += std::exp(0.5f * posterior.logvar.as<float>()[i]) * drawn.as<float>()[i];
  return x;
}

std::vector<Tensor> samples_of(const Call& call) {
  std::vector<Tensor> samples;
  samples.reserve(call.options.image.images.size());
  for (const Image& image : call.options.image.images) samples.push_back(to_sample(image, call.height, call.width));
  return samples;
}

Start start_of_image(const Call& call, const VAEComponent& vae, bool statistics, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
                     Request& request) {
  const CallOptions& o = call.options;
  if (o.latents.defined()) return {o.latents.to(DType::float32).clone(), {}};
  Tensor latents = o.image.latents.defined() ? o.image.latents.to(DType::float32).clone() : Tensor();
  if (!latents.defined()) {
    Autoencoder::Posterior posterior = encode_each(samples_of(call), vae, request);
    // With a generator an image each draws a sample of its own, even of a picture that it shares.
    if (noise.generators().size() > 1) {
      posterior.mean = in_turns(posterior.mean, call.images);
      if (posterior.logvar.defined()) posterior.logvar = in_turns(posterior.logvar, call.images);
    }
    latents = sampled(posterior, posterior.logvar.defined() ? noise.draw(posterior.mean.shape()) : Tensor());
    const LatentFormat format = vae.latents();
    const bool own = statistics && !format.mean.empty() && !format.std.empty();
    const int64_t plane = latents.dim(2) * latents.dim(3);
    for (int64_t i = 0; i < latents.numel(); ++i) {
      float& x = latents.as<float>()[i];
      const auto channel = static_cast<size_t>(i / plane % format.channels);
      const auto factor = static_cast<float>(format.scaling_factor);
      x = own ? (x - format.mean[channel]) * factor / format.std[channel] : factor * x;
    }
  }
  latents = in_turns(latents, call.images);
  if (o.denoising_start) return {latents.clone(), {}};  // they have their noise
  return {scheduler.add_noise(latents, noise.draw(latents.shape()), steps.first), {}};
}

}  // namespace vivace
