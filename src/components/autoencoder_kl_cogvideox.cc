#include "components/autoencoder_kl_cogvideox.h"

#include <algorithm>

#include "components/inputs.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Of a batch: the model was trained with these.
constexpr int64_t kLatentFrames = 2, kSampleFrames = 8;
constexpr const char *kDecoded = "sample", *kEncoded = "moments";

// [N, C, F, H, W] -> [N, F, H, W, C]: the lines of all frames are those of one tall picture.
Tensor to_frames_last(const Tensor& x) {
  return nchw_to_nhwc(x.reshape({x.dim(0), x.dim(1), x.dim(2) * x.dim(3), x.dim(4)})).reshape({x.dim(0), x.dim(2), x.dim(3), x.dim(4), x.dim(1)});
}
// Frames [begin, end) of [N, C, F, H, W], in float32.
Tensor frames_of(const Tensor& x, const FrameBatch& batch) {
  const Tensor values = x.to(DType::float32);
  const int64_t plane = x.dim(3) * x.dim(4), count = batch.second - batch.first;
  Tensor out({x.dim(0), x.dim(1), count, x.dim(3), x.dim(4)}, DType::float32);
  for (int64_t i = 0; i < x.dim(0) * x.dim(1); ++i)
    std::copy_n(values.as<float>() + (i * x.dim(2) + batch.first) * plane, count * plane, out.as<float>() + i * count * plane);
  return out;
}

// float32 [N, F, H, W, C] into the frames of [N, C, .., H, W] from `first` on.
void put_frames(const Tensor& frames, int64_t first, Tensor& video) {
  const int64_t channels = video.dim(1), plane = video.dim(3) * video.dim(4), count = frames.dim(1);
  const float* from = frames.as<float>();
  for (int64_t n = 0; n < video.dim(0); ++n)
    for (int64_t f = first; f < first + count; ++f) {
      float* to = video.as<float>() + (n * channels * video.dim(2) + f) * plane;
      for (int64_t i = 0; i < plane; ++i)
        for (int64_t c = 0; c < channels; ++c) to[c * video.dim(2) * plane + i] = *from++;
    }
}

VideoBatch batch_of(const Sizes& sizes) {
  return {sizes.at("batch"), sizes.at("frames"), sizes.at("height"), sizes.at("width"), sizes.at("first") != 0};
}

// What the last frames of a video's first batch leave to the next one.
std::map<std::string, Tensor> states_after(Session& session, const char* result, Request& request) {
  std::map<std::string, Tensor> states;
  for (const PlanPort& port : session.plan().outputs)
    if (port.name != result) states[port.name] = session.read(port.name, request);
  return states;
}

// Each goes when it is there: its place in the session takes memory with it.
void take_over(Session& session, std::map<std::string, Tensor>& states) {
  for (const PlanPort& port : session.plan().inputs)
    if (!port.state.empty()) session.write(port.name, states.extract(port.state).mapped());
}

}  // namespace

std::vector<FrameBatch> frame_batches(int64_t frames, int64_t size) {
  const int64_t count = std::max<int64_t>(frames / size, 1), first = frames - (count - 1) * size;
  std::vector<FrameBatch> batches{{0, first}};
  for (int64_t begin = first; begin < frames; begin += size) batches.emplace_back(begin, begin + size);
  return batches;
}

AutoencoderKLCogVideoXComponent::AutoencoderKLCogVideoXComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : AutoencoderComponent(path, options),
      config_(read_autoencoder_kl_cogvideox_config(read_config(path))),
      tiles_{config_.sample_height / 2, config_.sample_width / 2, 1. / 6, 1. / 5} {
  set_typical(request(true, {.frames = kLatentFrames, .height = 30, .width = 45, .first = false}, dtype()));
  check_weights([&] {
    const int64_t side = config_.scale();
    return std::vector{graph(request(true, {}, dtype())), graph(request(false, {.height = side, .width = side}, dtype()))};
  });
}

LatentFormat AutoencoderKLCogVideoXComponent::latents() const {
  return {.channels = config_.latent_channels,
          .scale = config_.scale(),
          .picture_channels = config_.out_channels,
          .scaling_factor = config_.scaling_factor,
          .shift_factor = config_.shift_factor,
          .mean = {},
          .std = {},
          .temporal_scale = config_.temporal_compression_ratio,
          .invert_scale_latents = config_.invert_scale_latents};
}

void AutoencoderKLCogVideoXComponent::set_tiles(std::optional<int64_t> height, std::optional<int64_t> width, std::optional<double> overlap_height,
                                                std::optional<double> overlap_width) {
  const Tiles tiles{height.value_or(tiles_.height), width.value_or(tiles_.width), overlap_height.value_or(tiles_.overlap_height),
                    overlap_width.value_or(tiles_.overlap_width)};
  for (const bool decode : {true, false}) grid(tiles, decode);  // throws where they cannot overlap
  tiles_ = tiles;
  set_tiling(true);
}

TileGrid AutoencoderKLCogVideoXComponent::grid(const Tiles& tiles, bool decode) const {
  const auto side = [&](int64_t pixels, double overlap) {
    const int64_t latent = pixels / config_.scale();
    return decode ? neighbours(latent, pixels, overlap) : neighbours(pixels, latent, overlap);
  };
  return {.height = side(tiles.height, tiles.overlap_height),
          .width = side(tiles.width, tiles.overlap_width),
          .made = decode ? config_.scale() : 1,
          .read = decode ? 1 : config_.scale()};
}

GraphRequest AutoencoderKLCogVideoXComponent::request(bool decode, const VideoBatch& batch, DType dtype) const {
  const int64_t granularity = decode ? 1 : config_.scale();
  Sizes sizes = (decode ? cogvideox_decoder_sizes : cogvideox_encoder_sizes)(config_, batch);
  sizes.insert({{"frames", batch.frames}, {"first", batch.first}});
  return {.function = decode ? "decode" : "encode",
          .dtype = dtype,
          .sizes = std::move(sizes),
          .granularity = {{"height", granularity}, {"width", granularity}, {"frames", 0}, {"first", 0}},
          .build = [config = config_, decode](const Sizes& s, Builder b) {
            return (decode ? build_cogvideox_decoder : build_cogvideox_encoder)(config, batch_of(s), std::move(b));
          }};
}

// Where a remainder is left that the samplers cannot halve so often.
void AutoencoderKLCogVideoXComponent::check_tile(int64_t height, int64_t width, int64_t whole_height, int64_t whole_width) const {
  if (const int64_t side = config_.scale(); std::min(height, width) < side)
    throw UsageError(cat("a picture of ", whole_height, " x ", whole_width, " pixels (height, width) leaves the encoder a tile of ", height, " x ",
                         width, ", expected at least ", side, " x ", side, ": choose another size, or no tiling"));
}

bool AutoencoderKLCogVideoXComponent::can_be_tiled(int64_t height, int64_t width) const {
  const auto grid = tiles_of(height, width, false, true);
  const auto is_whole = [scale = config_.scale()](const TileSide& side, int64_t size) {
    int64_t latents = 0;
    for (int64_t at = 0; at < size; at += side.step) {
      const int64_t tile = std::min(side.tile, size - at);
      if (tile < scale) return false;
      latents += std::min(side.keep, tile / scale);
    }
    return latents == size / scale;
  };
  return !grid || (is_whole(grid->height, height) && is_whole(grid->width, width));
}

std::vector<GraphRequest> AutoencoderKLCogVideoXComponent::of_tiles(bool decode, const VideoBatch& whole, bool tiles_asked) const {
  const auto grid = tiles_of(whole.height, whole.width, decode, tiles_asked && (decode || can_be_tiled(whole.height, whole.width)));
  std::vector<GraphRequest> all;
  for (const auto& [h, w] : grid ? tile_sizes(*grid, whole.height, whole.width) : std::vector{std::pair(whole.height, whole.width)}) {
    if (!decode) check_tile(h, w, whole.height, whole.width);
    all.push_back(request(decode, {1, whole.frames, h, w, whole.first}, dtype()));
  }
  return all;
}

std::vector<GraphRequest> AutoencoderKLCogVideoXComponent::requests(bool decode, int64_t frames, int64_t height, int64_t width) const {
  const std::vector<FrameBatch> batches = frame_batches(frames, decode ? kLatentFrames : kSampleFrames);
  std::vector<GraphRequest> all;
  for (size_t i = 0; i < std::min<size_t>(batches.size(), 2); ++i)
    for (GraphRequest& one : of_tiles(decode, {1, batches[i].second - batches[i].first, height, width, i == 0}, false)) all.push_back(std::move(one));
  return all;
}

std::vector<GraphRequest> AutoencoderKLCogVideoXComponent::in_tiles(const GraphRequest& whole) const {
  return of_tiles(whole.function == "decode", batch_of(whole.sizes), true);
}

Tensor AutoencoderKLCogVideoXComponent::in_batches(const Tensor& x, bool decode, DType dtype, Request& request, const OnFrames& on_frames) const {
  const char* result = decode ? kDecoded : kEncoded;
  const std::vector<FrameBatch> batches = frame_batches(x.dim(2), decode ? kLatentFrames : kSampleFrames);
  const auto made_of = [&](const FrameBatch& batch) {
    const int64_t frames = batch.second - batch.first;
    return decode ? config_.decoded_frames(frames) : config_.encoded_frames(frames);
  };
  int64_t made = 0;
  Tensor video;  // each batch goes to its place, so that nothing is there twice
  const auto run = [&](Session& session, const FrameBatch& batch) {
    session.write(decode ? "latents" : "sample", to_frames_last(frames_of(x, batch)));
    session.run(Phase::step, request);
    const Tensor frames = session.read(result, request).to(DType::float32);
    if (!decode || dtype == DType::float32) session.check_quantized();  // otherwise there is a second try
    if (!video.defined()) {
      int64_t all = 0;
      for (const FrameBatch& one : batches) all += made_of(one);
      video = Tensor({x.dim(0), frames.dim(4), all, frames.dim(2), frames.dim(3)}, DType::float32);
    }
    put_frames(frames, made, video);
    if (on_frames) on_frames(made, frames_of(video, {made, made + frames.dim(1)}));
    made += frames.dim(1);
  };
  const auto lease_for = [&](size_t i) {
    return lease(this->request(decode, {x.dim(0), batches[i].second - batches[i].first, x.dim(3), x.dim(4), i == 0}, dtype), request);
  };
  std::map<std::string, Tensor> states;
  {
    const SessionLease first = lease_for(0);
    run(*first, batches[0]);
    if (batches.size() > 1) states = states_after(*first, result, request);
  }
  if (batches.size() > 1) {
    const SessionLease next = lease_for(1);
    take_over(*next, states);
    for (size_t i = 1; i < batches.size(); ++i) run(*next, batches[i]);
  }
  return video;
}

Tensor AutoencoderKLCogVideoXComponent::decode(const Tensor& latents, Request& request, const OnFrames& on_frames) const {
  need_rank(latents, 5, "latents", "[N, C, F, h, w]");
  if (latents.numel() == 0 || latents.dim(1) != config_.latent_channels)
    throw UsageError(cat("latents has shape ", to_string(latents.shape()), ": expected [N, ", config_.latent_channels, ", F, h, w], none of them 0"));
  const bool whole = !tiles_of(latents.dim(3), latents.dim(4), true, request.vae_tiles);
  const auto run = [&](DType dtype) {
    return in_parts(
        latents, true, [&](const Tensor& z) { return in_batches(z, true, dtype, request, whole ? on_frames : nullptr); }, request.vae_tiles);
  };
  Tensor video = run(dtype());
  if (dtype() != DType::float32 && !is_finite(video) && is_finite(latents.to(DType::float32))) {
    warn("the VAE gave a NaN or an infinity in ", dtype_name(dtype()), "; decoding again in float32");
    video = run(DType::float32);
  }
  return video;
}

Autoencoder::Posterior AutoencoderKLCogVideoXComponent::encode(const Tensor& sample, Request& request) const {
  need_rank(sample, 5, "sample", "[N, 3, F, H, W]");
  const int64_t side = config_.scale();
  if (sample.numel() == 0 || sample.dim(1) != config_.in_channels || std::min(sample.dim(3), sample.dim(4)) < side)
    throw UsageError(cat("sample has shape ", to_string(sample.shape()), ": expected [N, ", config_.in_channels, ", F, H, W] of at least ", side,
                         " x ", side, " pixels"));
  return posterior_of(in_parts(
      sample, false,
      [&](const Tensor& x) {
        check_tile(x.dim(3), x.dim(4), sample.dim(3), sample.dim(4));
        return in_batches(x, false, dtype(), request, nullptr);
      },
      request.vae_tiles && can_be_tiled(sample.dim(3), sample.dim(4))));
}

AutoencoderKLCogVideoX AutoencoderKLCogVideoX::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AutoencoderKLCogVideoX(std::make_unique<AutoencoderKLCogVideoXComponent>(path, options));
}

void AutoencoderKLCogVideoX::enable_tiling(std::optional<int64_t> tile_sample_min_height, std::optional<int64_t> tile_sample_min_width,
                                           std::optional<double> tile_overlap_factor_height, std::optional<double> tile_overlap_factor_width) {
  static_cast<AutoencoderKLCogVideoXComponent&>(*component_)
      .set_tiles(tile_sample_min_height, tile_sample_min_width, tile_overlap_factor_height, tile_overlap_factor_width);
}

}  // namespace vivace
