#include "families/flux_kontext/flux_kontext.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "base/log.h"
#include "families/common/packed_latents.h"
#include "families/common/picture_start.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int64_t kMaxArea = 1024 * 1024;
// Width and height that the model was trained with.
constexpr std::array<std::pair<int64_t, int64_t>, 17> kPreferred{{{672, 1568},
                                                                  {688, 1504},
                                                                  {720, 1456},
                                                                  {752, 1392},
                                                                  {800, 1328},
                                                                  {832, 1248},
                                                                  {880, 1184},
                                                                  {944, 1104},
                                                                  {1024, 1024},
                                                                  {1104, 944},
                                                                  {1184, 880},
                                                                  {1248, 832},
                                                                  {1328, 800},
                                                                  {1392, 752},
                                                                  {1456, 720},
                                                                  {1504, 688},
                                                                  {1568, 672}}};

}  // namespace

std::vector<std::string_view> FluxKontextRecipe::also_taken() const { return {"image", "max_area", "auto_resize"}; }

// Height and width say the shape alone.
Size FluxKontextRecipe::wanted_size(const CallOptions& o) const {
  const Size asked = FluxRecipe::wanted_size(o);
  const auto area = static_cast<double>(o.max_area.value_or(kMaxArea));
  if (!(area > 0)) throw UsageError(cat("max_area is ", o.max_area.value_or(kMaxArea), ": expected a positive number of pixels"));
  if (asked.first <= 0 || asked.second <= 0) return asked;
  const double ratio = static_cast<double>(asked.second) / static_cast<double>(asked.first);
  // Halves to even, as Python rounds.
  return {static_cast<int64_t>(std::nearbyint(std::sqrt(area / ratio))), static_cast<int64_t>(std::nearbyint(std::sqrt(area * ratio)))};
}

Size FluxKontextRecipe::picture_size(const CallOptions& o) const {
  const int64_t multiple = token_pixels();
  if (o.image.latents.defined()) return size_of(o.image, format_.scale);
  auto [height, width] = size_of(o.image, multiple);
  if (o.auto_resize) {
    const double ratio = static_cast<double>(width) / static_cast<double>(height);
    const auto distance = [&](const auto& size) {
      return std::tuple(std::abs(ratio - static_cast<double>(size.first) / static_cast<double>(size.second)), size.first, size.second);
    };
    std::tie(width, height) = *std::ranges::min_element(kPreferred, {}, distance);
  }
  return {height / multiple * multiple, width / multiple * multiple};
}

CallOptions FluxKontextRecipe::blank_call(Size size) const {
  CallOptions options = FluxRecipe::blank_call(size);
  options.image = blank_picture(size.first ? size.first : default_size().first, size.second ? size.second : default_size().second);
  return options;
}

void FluxKontextRecipe::set_size(CallOptions& call, Size size) const {
  FluxRecipe::set_size(call, size);
  call.max_area = size.first * size.second;
}

Call FluxKontextRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  Call call = FluxRecipe::resolve(prompt, o);
  if (o.image.empty()) return call;
  const auto [height, width] = picture_size(o);  // refused where it is none
  if (height % token_pixels() || width % token_pixels())
    throw UsageError(cat("latents given as image have shape ", to_string(o.image.latents.shape()), ": expected an even height and width"));
  check_input(o.image, "image", call.images, format_.channels, height / format_.scale, width / format_.scale);
  return call;
}

int64_t FluxKontextRecipe::condition_tokens(const Call& call) const {
  if (call.options.image.empty()) return 0;
  const auto [height, width] = picture_size(call.options);
  return (height / token_pixels()) * (width / token_pixels());
}

std::vector<SessionNeed> FluxKontextRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = FluxRecipe::sessions_for(call);
  if (call.options.image.images.empty()) return needs;
  const auto [height, width] = picture_size(call.options);
  add_needs(needs, vae_.encode_requests(1, height, width), Stage::encode);
  return needs;
}

Conditioning FluxKontextRecipe::encode(const Call& call, Request& request) const {
  Conditioning result = FluxRecipe::encode(call, request);
  if (call.options.image.empty()) return result;
  const auto [height, width] = picture_size(call.options);
  const ImageInput& image = call.options.image;
  const Tensor latents =
      image.latents.defined() ? image.latents.to(DType::float32) : scaled(encode_pictures(image.images, height, width, request).mean);
  result.positive["image_latents"] = in_turns(pack_latents(latents), call.images);
  result.shared["image_latents_ids"] = latent_image_ids(height / token_pixels(), width / token_pixels(), 1);
  return result;
}

Family flux_kontext_family() {
  return {.class_name = "FluxKontextPipeline", .parts = flux_parts(), .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<FluxKontextRecipe>(parts);
          }};
}

}  // namespace vivace
