#include "pipelines/shared_start.h"

#include <array>
#include <cstring>
#include <set>
#include <span>
#include <string_view>

#include "base/build_id.h"
#include "base/hash.h"
#include "base/joined.h"
#include "base/log.h"
#include "components/models.h"
#include "runtime/communicator.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::string hashed(const Tensor& tensor) {
  return tensor.defined() ? cat(dtype_name(tensor.dtype()), to_string(tensor.shape()), to_string(hash128(tensor.data(), tensor.bytes())), '\n')
                          : "-\n";
}

std::string hashed(const ImageInput& input) {
  std::string text = hashed(input.latents);
  for (const Image& image : input.images) text += hashed(image.tensor());
  return text;
}

std::string weights_of(const Parts& parts) {
  std::string text;
  for (const auto& [name, model] : parts.models) text += cat(name, ' ', to_string(model->component().sampled_weights()), '\n');
  return text;
}

std::string pictures_of(const CallOptions& o) {
  std::string text;
  for (const Tensor* tensor :
       {&o.latents, &o.prompt_embeds, &o.negative_prompt_embeds, &o.pooled_prompt_embeds, &o.negative_pooled_prompt_embeds, &o.masked_image_latents})
    text += hashed(*tensor);
  text += hashed(o.image) + hashed(o.mask_image);
  for (const ImageInput& image : o.control_image) text += hashed(image);
  for (const Video& video : o.video) text += hashed(video.tensor());
  return text;
}

std::string arguments_of(const Call& call, const Scheduler& scheduler, const Noise& noise) {
  const auto texts = [](const Prompts& prompts) { return cat(joined(prompts, "\1"), '\n'); };
  const CallOptions& o = call.options;
  std::string text = texts(call.prompt) + texts(o.prompt_2) + (o.negative_prompt ? texts(*o.negative_prompt) : "") +
                     (o.negative_prompt_2 ? texts(*o.negative_prompt_2) : "");
  text +=
      cat(call.images, ' ', call.height, ' ', call.width, ' ', call.frames, ' ', call.guidance_scale, ' ', o.guidance_rescale, ' ', call.timesteps,
          '\n', scheduler.class_name(), scheduler.config(), '\n', joined(scheduler.timesteps(), " ", [](float t) { return cat(t); }), '\n',
          joined(noise.seeds(), " ", [](uint64_t seed) { return std::to_string(seed); }));
  return text;
}

// Copies of their own, which can be written over: the call's may be the caller's.
std::vector<Tensor*> start_tensors(Conditioning& conditioning, Start& start) {
  std::vector<Tensor*> all;
  for (Tensor* tensor : {&start.latents, &start.kept.picture, &start.kept.noise, &start.kept.mask, &conditioning.beside})
    if (tensor->defined()) all.push_back(&(*tensor = tensor->clone()));
  return all;
}

}  // namespace

void share_start(const DiffusionPipeline::Loaded& loaded, const Call& call, const Scheduler& scheduler, const Noise& noise,
                 Conditioning& conditioning, Start& start, Request& request) {
  const std::vector<Tensor*> tensors = start_tensors(conditioning, start);
  std::string shapes;
  for (const Tensor* tensor : tensors) shapes += cat(dtype_name(tensor->dtype()), to_string(tensor->shape()), '\n');
  constexpr std::array kNames{"the program", "weights", "arguments", "given pictures or tensors"};
  const std::array<Hash128, kNames.size()> mine{hash128(build_id()), hash128(weights_of(loaded.parts)),
                                                hash128(arguments_of(call, scheduler, noise) + shapes), hash128(pictures_of(call.options))};
  Device& device = loaded.parts.model(denoiser_of(*loaded.family)).component().device();
  const std::vector<std::byte> all = exchange(*call.ranks, device, std::as_bytes(std::span(mine)), request);
  std::set<std::string_view> different;
  for (size_t at = 0; at < all.size(); at += sizeof(Hash128))
    if (const size_t i = at / sizeof(Hash128) % mine.size(); std::memcmp(all.data() + at, &mine[i], sizeof(Hash128)) != 0)
      different.insert(kNames[i]);
  if (!different.empty())
    throw UserError(cat("the processes that are to make one picture differ in ", joined(different, " and "),
                        ": expected the same program, checkpoint, adapters, arguments and pictures for each"));
  std::vector<std::byte> bytes;
  for (const Tensor* tensor : tensors) {
    const auto* const data = static_cast<const std::byte*>(tensor->data());
    bytes.insert(bytes.end(), data, data + tensor->bytes());
  }
  const std::vector<std::byte> starts = exchange(*call.ranks, device, bytes, request);
  const std::byte* from = starts.data();  // the first rank's
  for (Tensor* tensor : tensors) {
    std::memcpy(tensor->data(), from, tensor->bytes());
    from += tensor->bytes();
  }
}

}  // namespace vivace
