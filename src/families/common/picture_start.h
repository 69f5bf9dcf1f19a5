// How a run begins with pictures: what Diffusers' get_timesteps, prepare_latents and prepare_mask_latents do, with their order of random draws.
#pragma once

#include "components/models.h"
#include "families/family.h"

namespace vivace {

// How many of so many steps a strength leaves.
int steps_left(int steps, double strength);
// The steps that a strength leaves of a schedule of so many (each of scheduler.order() model calls). Throws UsageError where it leaves none; without
// `counts_steps` a timestep more than steps, as PNDM's schedule has, is one.
StepRange steps_of_strength(int steps, double strength, const Scheduler& scheduler, bool counts_steps = false);
// The steps from a fraction of the schedule on, and those before one. Fractions that are none, or not between 0 and 1, change nothing.
int first_step(std::optional<double> denoising_start, const Scheduler& scheduler);
int last_step(std::optional<double> denoising_end, int first, const Scheduler& scheduler);

// Height and width that pictures get without being asked for any: the first one's, rounded down to multiples of the VAE's scale.
Size size_of(const ImageInput& image, int64_t scale);
// Whether pictures, or latents of [N, channels, h, w], can be shared among the images. Throws UsageError.
void check_input(const ImageInput& input, const char* name, int64_t images, int64_t channels, int64_t latent_height, int64_t latent_width);

// Rows in turns: a, b, a, b for 4 images of 2 rows.
Tensor in_turns(const Tensor& rows, int64_t images);
// What the VAE makes of pictures or videos, [1, 3, .., H, W] each: a row a picture. Throws UsageError for a size whose tiles do not add up.
Autoencoder::Posterior encode_each(const std::vector<Tensor>& samples, const AutoencoderComponent& vae, Request& request);
// Latents of a posterior: the mean and a deviation that is drawn for as many rows; the mean alone where there is no deviation (AutoencoderTiny).
Tensor sampled(const Autoencoder::Posterior& posterior, const Tensor& drawn);

// Pictures of a call for the VAE, of its size.
std::vector<Tensor> samples_of(const Call& call);

// A run that begins with a picture. `statistics`: the model's latents are scaled by each channel's mean and deviation, where the VAE states them.
Start start_of_image(const Call& call, const VAEComponent& vae, bool statistics, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
                     Request& request);

}  // namespace vivace
