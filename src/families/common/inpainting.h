// Runs that repaint a part of a picture.
#pragma once

#include "families/common/picture_start.h"

namespace vivace {

// Throws UsageError where the call's picture, mask and crop do not fit one another.
void check_inpainting(const Call& call, bool reads_mask, const LatentFormat& format);

// `reads_mask`: the model reads the mask and what the mask leaves of the picture beside the latents, which are added to `conditioning`. Otherwise
// what is kept gets the picture's latents after every step, at the next step's noise level.
Start start_of_inpainting(const Call& call, Conditioning& conditioning, const VAEComponent& vae, bool reads_mask, double strength,
                          const Scheduler& scheduler, const StepRange& steps, Noise& noise, Request& request);

// A picture, or a mask, as a call of that size reads it: resized, or with padding_mask_crop the part that is made.
Image fitted(const Call& call, const Image& image);

// With padding_mask_crop: what was made, under the picture that it is a part of.
Image whole_picture(const Call& call, const Image& made);

}  // namespace vivace
