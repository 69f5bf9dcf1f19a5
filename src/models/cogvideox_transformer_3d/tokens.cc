#include "models/cogvideox_transformer_3d/tokens.h"

#include <cmath>
#include <vector>

namespace vivace {
namespace {

// Calls move(place among the patches' values, place among the latents') for each value of latents of this shape.
template <class Move>
void each_value(const CogVideoXTransformer3DConfig& config, const Shape& latents, const Move& move) {
  const int64_t p = config.patch_size, t = config.frames_a_patch();
  const int64_t frames = latents[1], channels = latents[2], height = latents[3], width = latents[4];
  int64_t packed = 0;
  for (int64_t n = 0; n < latents[0]; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t df = 0; df < t; ++df)
        for (int64_t dy = 0; dy < p; ++dy)
          for (int64_t dx = 0; dx < p; ++dx)
            for (int64_t f = df; f < frames; f += t)
              for (int64_t y = dy; y < height; y += p)
                for (int64_t x = dx; x < width; x += p) move(packed++, (((n * frames + f) * channels + c) * height + y) * width + x);
}

// torch.linspace in float32: from both ends to the middle.
std::vector<float> linspace(float first, float last, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count), first);
  const float step = count > 1 ? (last - first) / static_cast<float>(count - 1) : 0;
  for (int64_t i = 1; i < count; ++i)
    values[static_cast<size_t>(i)] = i < count / 2 ? first + step * static_cast<float>(i) : last - step * static_cast<float>(count - 1 - i);
  return values;
}

std::vector<float> counted(int64_t count, float scale = 1) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i) / scale);
  return values;
}

// Of one axis of the box: from where the video begins in it to where it ends, which is the end of its last patch.
std::vector<float> in_box(int64_t box, int64_t taken, int64_t count) {
  const auto begin = static_cast<int64_t>(std::nearbyint(static_cast<double>(box - taken) / 2));  // halves to even, as Python rounds
  const double end = static_cast<double>(begin + taken) * static_cast<double>(count - 1) / static_cast<double>(count);
  return linspace(static_cast<float>(begin), static_cast<float>(end), count);
}

Tensor every_patch(const std::vector<float>& frames, const std::vector<float>& rows, const std::vector<float>& columns) {
  Tensor ids({static_cast<int64_t>(frames.size() * rows.size() * columns.size()), 3}, DType::float32);
  float* to = ids.as<float>();
  for (float f : frames)
    for (float y : rows)
      for (float x : columns) {
        *to++ = f;
        *to++ = y;
        *to++ = x;
      }
  return ids;
}

}  // namespace

int64_t video_tokens(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid) {
  return grid.frames / config.frames_a_patch() * (grid.height / config.patch_size) * (grid.width / config.patch_size);
}

void pack_video(const CogVideoXTransformer3DConfig& config, const Tensor& latents, Tensor& packed) {
  each_value(config, latents.shape(),
             [to = packed.as<float>(), from = latents.as<float>()](int64_t place, int64_t plain) { to[place] = from[plain]; });
}

Tensor packed_video(const CogVideoXTransformer3DConfig& config, const Tensor& latents) {
  const int64_t patches = video_tokens(config, {latents.dim(1), latents.dim(3), latents.dim(4)});
  Tensor packed({latents.dim(0), latents.dim(2) * config.patch_values(), patches}, DType::float32);
  pack_video(config, latents, packed);
  return packed;
}

void unpack_video(const CogVideoXTransformer3DConfig& config, const Tensor& packed, Tensor& latents) {
  each_value(config, latents.shape(),
             [from = packed.as<float>(), to = latents.as<float>()](int64_t place, int64_t plain) { to[plain] = from[place]; });
}

Tensor rotary_positions(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid) {
  const int64_t p = config.patch_size, rows = grid.height / p, columns = grid.width / p;
  if (config.patch_size_t) return every_patch(counted(grid.frames / config.patch_size_t), counted(rows), counted(columns));
  const int64_t box_rows = config.sample_height / p, box_columns = config.sample_width / p;
  const auto h = static_cast<double>(rows), w = static_cast<double>(columns);
  int64_t taken_rows = box_rows, taken_columns = box_columns;
  if (h / w > static_cast<double>(box_rows) / static_cast<double>(box_columns))
    taken_columns = static_cast<int64_t>(std::nearbyint(static_cast<double>(box_rows) / h * w));
  else
    taken_rows = static_cast<int64_t>(std::nearbyint(static_cast<double>(box_columns) / w * h));
  return every_patch(counted(grid.frames), in_box(box_rows, taken_rows, rows), in_box(box_columns, taken_columns, columns));
}

Tensor sine_positions(const CogVideoXTransformer3DConfig& config, const VideoGrid& grid) {
  const auto space = static_cast<float>(config.spatial_interpolation_scale), time = static_cast<float>(config.temporal_interpolation_scale);
  return every_patch(counted(grid.frames, time), counted(grid.height / config.patch_size, space), counted(grid.width / config.patch_size, space));
}

}  // namespace vivace
