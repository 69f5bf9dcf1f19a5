// What a CogVideoXTransformer3DModel is given of a video: its latents as a sequence of patches, and where those lie.
#pragma once

#include "models/cogvideox_transformer_3d/config.h"
#include "vivace/tensor.h"

namespace vivace {

// Latent frames, height and width of a video, whole patches each.
struct VideoGrid {
  int64_t frames = 1, height = 1, width = 1;
};

int64_t video_tokens(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid);

// Latents [N, F, C, h, w] -> patches, frame by frame and row by row, their features in the order (channel, frame, row, column) as what a picture's
// channels are: [N, C * patch_values(), video_tokens]. pack_video and unpack_video write over their
// result, which has its shape.
void pack_video(const CogVideoXTransformer3DConfig& config, const Tensor& latents, Tensor& packed);
Tensor packed_video(const CogVideoXTransformer3DConfig& config, const Tensor& latents);  // the same in a tensor of its own
void unpack_video(const CogVideoXTransformer3DConfig& config, const Tensor& packed, Tensor& latents);

// Frame, row and column of each patch, float32 [video_tokens, 3], for the rotary embedding: without patch_size_t a video is laid into the box that
// the model was made for, as large as it fits, and its rows and columns are counted by that; otherwise they are just counted.
Tensor rotary_positions(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid);
// The same for a table of sines, in units of the interpolation scales.
Tensor sine_positions(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid);

}  // namespace vivace
