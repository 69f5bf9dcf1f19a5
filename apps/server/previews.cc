#include "previews.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "components/models.h"
#include "families/common/packed_latents.h"
#include "pipelines/loaded.h"
#include "vivace/error.h"

namespace vivace::server {
namespace {

constexpr int64_t kProbe = 16;  // latent pixels a side
// So that a channel that never changes does no harm.
constexpr double kRidge = 1e-3;

// [C, h, w] of the first picture. Tokens are unpacked: four latent pixels each, in the shape of the picture.
Tensor planes(const Tensor& latents, int64_t height, int64_t width) {
  Tensor one = latents.rows(0, 1);
  if (one.rank() == 3) {
    const double pixels = static_cast<double>(height) * static_cast<double>(width) / static_cast<double>(4 * one.dim(1));
    const auto scale = static_cast<int64_t>(std::lround(std::sqrt(pixels)));
    one = unpack_latents(one, height / scale, width / scale);
  }
  return one.reshape({one.dim(1), one.dim(2), one.dim(3)});
}

float as_colour(float value) { return std::isfinite(value) ? std::clamp(value, 0.f, 1.f) : 0.f; }

const VAEComponent& vae_of(const AutoencoderTiny& model) { return dynamic_cast<const VAEComponent&>(model.component()); }

}  // namespace

Image Previews::preview(const DiffusionPipeline& pipe, const Tensor& latents, int64_t height, int64_t width, const std::stop_token& stop) {
  Tensor z = planes(latents, height, width).clone();
  // Half-way latents are louder than finished ones, whose deviation is about 1.
  double sum = 0;
  for (const float x : z.floats()) sum += static_cast<double>(x) * x;
  const auto quieter = static_cast<float>(1 / std::max(1.0, std::sqrt(sum / static_cast<double>(z.numel()))));
  for (float& x : z.floats()) x *= quieter;
  if (decoder_ && vae_of(*decoder_).latents().channels == z.dim(0)) return decoded(z, stop);
  if (map_.empty()) learn_at_first(pipe, z.dim(0), latents.rank() == 3, std::max<int64_t>(1, height / z.dim(1)), stop);
  return guessed(z);
}

Image Previews::decoded(const Tensor& z, const std::stop_token& stop) const {
  vivace::Request request(stop);
  Tensor picture = nchw_to_nhwc(vae_of(*decoder_).decode(z.reshape({1, z.dim(0), z.dim(1), z.dim(2)}), request));
  for (float& x : picture.floats()) x = as_colour(x / 2 + 0.5f);
  return Image::from_tensor(picture.reshape({picture.dim(1), picture.dim(2), picture.dim(3)}));
}

Image Previews::guessed(const Tensor& z) const {
  const int64_t channels = z.dim(0), plane = z.dim(1) * z.dim(2);
  Tensor picture({z.dim(1), z.dim(2), 3}, DType::float32);
  const float* in = z.as<float>();
  for (int64_t i = 0; i < plane; ++i)
    for (int64_t k = 0; k < 3; ++k) {
      float value = map_[static_cast<size_t>(channels * 3 + k)];
      for (int64_t c = 0; c < channels; ++c) value += in[c * plane + i] * map_[static_cast<size_t>(c * 3 + k)];
      picture.as<float>()[i * 3 + k] = as_colour(value);
    }
  return Image::from_tensor(picture);
}

void Previews::learn_at_first(const DiffusionPipeline& pipe, int64_t channels, bool packed, int64_t scale, const std::stop_token& stop) {
  const DiffusionPipeline::Loaded& inside = const_cast<DiffusionPipeline&>(pipe).loaded();
  vivace::Request request(stop);
  const Call call = inside.recipe->resolve("", inside.recipe->blank_call({kProbe * scale, kProbe * scale}));
  // Patches of one colour and noise: a decoder looks at neighbours, and pictures have areas.
  Generator generator(0);
  Tensor probe = generator.randn({1, channels, kProbe, kProbe});
  const Tensor coarse = generator.randn({channels, kProbe / 4, kProbe / 4});
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = 0; y < kProbe; ++y)
      for (int64_t x = 0; x < kProbe; ++x) {
        float& value = probe.as<float>()[(c * kProbe + y) * kProbe + x];
        value = 0.3f * value + coarse.as<float>()[(c * (kProbe / 4) + y / 4) * (kProbe / 4) + x / 4];
      }
  const Tensor given = packed ? pack_latents(probe) : probe;
  learn(given, inside.recipe->decode(call, given, request).images.at(0));
}

void Previews::learn(const Tensor& latents, const Image& image) {
  const Tensor z = planes(latents, image.height(), image.width());
  const int64_t channels = z.dim(0), rows = z.dim(1), columns = z.dim(2), plane = rows * columns;
  const int64_t scale = image.height() / rows, n = channels + 1;
  if (scale < 1 || image.width() / columns != scale) return;
  squares_.resize(static_cast<size_t>(n * n));
  products_.resize(static_cast<size_t>(n * 3));
  std::vector<double> sample(static_cast<size_t>(n), 1);
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x) {
      for (int64_t c = 0; c < channels; ++c) sample[static_cast<size_t>(c)] = z.as<float>()[c * plane + y * columns + x];
      std::array<double, 3> colour{};
      for (int64_t v = 0; v < scale; ++v)
        for (int64_t u = 0; u < scale; ++u)
          for (int64_t k = 0; k < 3; ++k)
            colour[static_cast<size_t>(k)] += image.tensor().as<float>()[((y * scale + v) * image.width() + x * scale + u) * 3 + k];
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) squares_[static_cast<size_t>(i * n + j)] += sample[static_cast<size_t>(i)] * sample[static_cast<size_t>(j)];
        for (int64_t k = 0; k < 3; ++k)
          products_[static_cast<size_t>(i * 3 + k)] +=
              sample[static_cast<size_t>(i)] * colour[static_cast<size_t>(k)] / static_cast<double>(scale * scale);
      }
    }
  solve();
}

// Cholesky's way, the matrix being symmetric and, with the ridge, positive.
void Previews::solve() {
  const size_t n = products_.size() / 3;
  std::vector<double> l = squares_, x = products_;
  for (size_t i = 0; i < n; ++i) l[i * n + i] += kRidge * (1 + l[n * n - 1]);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double value = l[i * n + j];
      for (size_t k = 0; k < j; ++k) value -= l[i * n + k] * l[j * n + k];
      l[i * n + j] = i == j ? std::sqrt(std::max(value, 1e-12)) : value / l[j * n + j];
    }
  for (size_t k = 0; k < 3; ++k) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < i; ++j) x[i * 3 + k] -= l[i * n + j] * x[j * 3 + k];
      x[i * 3 + k] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t j = i + 1; j < n; ++j) x[i * 3 + k] -= l[j * n + i] * x[j * 3 + k];
      x[i * 3 + k] /= l[i * n + i];
    }
  }
  map_.assign(x.begin(), x.end());
}

}  // namespace vivace::server
