// VAEs of any class: sessions, tiles, and the public models around them.
#include <algorithm>

#include "base/log.h"
#include "components/inputs.h"
#include "components/models.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr double kOverlap = 0.25, kTinyOverlap = 0.125;  // of two tiles
constexpr int64_t kTinyTile = 512;                       // pixels

}  // namespace

AutoencoderKLComponent::AutoencoderKLComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : VAEComponent(path, options), config_(read_autoencoder_kl_config(read_config(path))) {
  const int64_t side = 8 * config_.scale();
  set_typical(decode_request(1, 64, 64, dtype()));
  check_weights([&] { return std::vector{graph(decode_request(1, 8, 8, dtype())), graph(encode_request(1, side, side, dtype()))}; });
}

LatentFormat AutoencoderKLComponent::latents() const {
  return {config_.latent_channels, config_.scale(),      config_.out_channels, config_.scaling_factor,
          config_.shift_factor,    config_.latents_mean, config_.latents_std};
}

TileGrid AutoencoderKLComponent::tiles(bool decode) const {
  const int64_t sample = config_.sample_size, latent = sample / config_.scale();
  const TileSide side = decode ? neighbours(latent, sample, kOverlap) : neighbours(sample, latent, kOverlap);
  return {.height = side, .width = side, .made = decode ? config_.scale() : 1, .read = decode ? 1 : config_.scale()};
}

GraphRequest AutoencoderKLComponent::decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "decode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_vae_decoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

GraphRequest AutoencoderKLComponent::encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "encode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {{"height", config_.scale()}, {"width", config_.scale()}},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_vae_encoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

AutoencoderTinyComponent::AutoencoderTinyComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : VAEComponent(path, options), config_(read_autoencoder_tiny_config(read_config(path))) {
  const int64_t side = 8 * config_.encoder_scale();
  set_typical(decode_request(1, 64, 64, dtype()));
  check_weights([&] { return std::vector{graph(decode_request(1, 8, 8, dtype())), graph(encode_request(1, side, side, dtype()))}; });
}

LatentFormat AutoencoderTinyComponent::latents() const {
  return {config_.latent_channels, config_.scale(), config_.out_channels, config_.scaling_factor, config_.shift_factor, {}, {}};
}

TileGrid AutoencoderTinyComponent::tiles(bool decode) const {
  const int64_t latent = kTinyTile / config_.scale();
  const int64_t read = decode ? latent : kTinyTile, made = decode ? kTinyTile : latent;
  const TileSide side = one_over_another(read, made, kTinyOverlap);
  return {.height = side, .width = side, .made = made, .read = read, .over = true};
}

GraphRequest AutoencoderTinyComponent::decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "decode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_tiny_decoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

GraphRequest AutoencoderTinyComponent::encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const {
  return {.function = "encode",
          .dtype = dtype,
          .sizes = {{"batch", batch}, {"height", height}, {"width", width}},
          .granularity = {{"height", config_.encoder_scale()}, {"width", config_.encoder_scale()}},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_tiny_encoder(config, s.at("batch"), s.at("height"), s.at("width"), std::move(b));
          }};
}

std::optional<TileGrid> AutoencoderComponent::tiles_of(int64_t height, int64_t width, bool decode, bool asked) const {
  if (!tiling_ && !asked) return std::nullopt;
  const TileGrid grid = tiles(decode);
  // AutoencoderTiny has a second tile wherever the first one's step does not reach the end.
  const auto fits = [&](const TileSide& side, int64_t size) { return size <= (grid.over ? side.step : side.tile); };
  return fits(grid.height, height) && fits(grid.width, width) ? std::nullopt : std::optional(grid);
}

std::vector<GraphRequest> VAEComponent::requests_of(int64_t height, int64_t width, bool decode, bool tiles_asked) const {
  const auto grid = tiles_of(height, width, decode, tiles_asked);
  std::vector<GraphRequest> requests;
  for (const auto& [h, w] : grid ? tile_sizes(*grid, height, width) : std::vector{std::pair(height, width)})
    requests.push_back(decode ? decode_request(1, h, w, decode_dtype()) : encode_request(1, h, w, decode_dtype()));
  return requests;
}

std::vector<GraphRequest> VAEComponent::decode_requests(int64_t, int64_t height, int64_t width) const {
  return requests_of(height, width, true, false);
}

std::vector<GraphRequest> VAEComponent::encode_requests(int64_t, int64_t height, int64_t width) const {
  return requests_of(height, width, false, false);
}

std::vector<GraphRequest> VAEComponent::in_tiles(const GraphRequest& whole) const {
  return requests_of(whole.sizes.at("height"), whole.sizes.at("width"), whole.function == "decode", true);
}

Tensor AutoencoderComponent::in_parts(const Tensor& x, bool decode, const std::function<Tensor(const Tensor&)>& run, bool tiles_asked) const {
  if (slicing_ && x.dim(0) > 1) {
    std::vector<Tensor> slices;
    for (int64_t n = 0; n < x.dim(0); ++n) slices.push_back(in_parts(x.rows(n, n + 1), decode, run, tiles_asked));
    return concat_rows(slices);
  }
  const auto grid = tiles_of(x.dim(-2), x.dim(-1), decode, tiles_asked);
  return grid ? vivace::in_tiles(x, *grid, run) : run(x);
}

Tensor VAEComponent::decode(const Tensor& latents, Request& request) const {
  need_rank(latents, 4, "latents", "[N, C, h, w]");
  const auto run = [&](DType dtype) {
    return in_parts(
        latents, true,
        [&](const Tensor& z) {
          const SessionLease session = lease(decode_request(z.dim(0), z.dim(2), z.dim(3), dtype), request);
          session->write("latents", nchw_to_nhwc(z));
          session->run(Phase::step, request);
          Tensor image = image_output(*session, "sample", request);
          if (dtype == DType::float32) session->check_quantized();  // otherwise there is a second try
          return image;
        },
        request.vae_tiles);
  };
  Tensor image = run(decode_dtype());
  if (decode_dtype() != DType::float32 && !is_finite(image) && is_finite(latents.to(DType::float32))) {
    warn("the VAE gave a NaN or an infinity in ", dtype_name(decode_dtype()), "; decoding again in float32");
    image = run(DType::float32);
  }
  return image;
}

Autoencoder::Posterior VAEComponent::encode(const Tensor& sample, Request& request) const {
  need_rank(sample, 4, "sample", "[N, 3, H, W]");
  const Tensor moments = in_parts(
      sample, false,
      [&](const Tensor& x) {
        const SessionLease session = lease(encode_request(x.dim(0), x.dim(2), x.dim(3), decode_dtype()), request);
        session->write("sample", nchw_to_nhwc(x));
        session->run(Phase::step, request);
        Tensor made = image_output(*session, draws_samples() ? "moments" : "latents", request);
        session->check_quantized();
        return made;
      },
      request.vae_tiles);
  return draws_samples() ? posterior_of(moments) : Autoencoder::Posterior{moments, {}};
}

Autoencoder::Posterior posterior_of(const Tensor& moments) {
  Shape shape = moments.shape();
  shape[1] /= 2;
  const int64_t images = shape[0], half = numel(shape) / std::max<int64_t>(1, images);
  Autoencoder::Posterior p;
  for (Tensor* part : {&p.mean, &p.logvar}) {
    *part = Tensor(shape, DType::float32);
    for (int64_t n = 0; n < images; ++n) std::copy_n(moments.as<float>() + (2 * n + (part == &p.logvar)) * half, half, part->as<float>() + n * half);
  }
  for (float& x : p.logvar.floats()) x = std::clamp(x, -30.f, 20.f);  // DiagonalGaussianDistribution's bounds
  return p;
}

AutoencoderKL AutoencoderKL::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AutoencoderKL(std::make_unique<AutoencoderKLComponent>(path, options));
}

AutoencoderTiny AutoencoderTiny::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AutoencoderTiny(std::make_unique<AutoencoderTinyComponent>(path, options));
}

Tensor Autoencoder::decode(const Tensor& latents) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const AutoencoderComponent&>(*component_).decode(latents, request);
}

void Autoencoder::compile_decode(const CompileOptions& options) { component_->compile(options, "decode"); }
void Autoencoder::compile_encode(const CompileOptions& options) { component_->compile(options, "encode"); }

Autoencoder::Posterior Autoencoder::encode(const Tensor& sample) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const AutoencoderComponent&>(*component_).encode(sample, request);
}

double Autoencoder::scaling_factor() const { return static_cast<const AutoencoderComponent&>(*component_).latents().scaling_factor; }
int64_t Autoencoder::scale() const { return static_cast<const AutoencoderComponent&>(*component_).latents().scale; }

void Autoencoder::enable_tiling() { static_cast<AutoencoderComponent&>(*component_).set_tiling(true); }
void Autoencoder::disable_tiling() { static_cast<AutoencoderComponent&>(*component_).set_tiling(false); }
void Autoencoder::enable_slicing() { static_cast<AutoencoderComponent&>(*component_).set_slicing(true); }
void Autoencoder::disable_slicing() { static_cast<AutoencoderComponent&>(*component_).set_slicing(false); }

}  // namespace vivace
