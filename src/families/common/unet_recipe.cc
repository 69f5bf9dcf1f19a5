#include "families/common/unet_recipe.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "families/common/control_nets.h"
#include "families/common/guided_predictor.h"
#include "families/common/inpainting.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// What a UNet is for whose input is more than the latents; empty for a number that no known kind has.
const char* kind_of(int64_t channels, int64_t latent) {
  if (channels == 2 * latent + 1) return ": it is an inpainting model, which fills in a mask";
  if (channels == 2 * latent) return ": it is a model that edits a picture (InstructPix2Pix)";
  if (channels == latent + 1) return ": it is a model that takes a picture's depth";
  if (channels == latent + 3) return ": it is an upscaler";
  return "";
}

// get_guidance_scale_embedding: sin and cos of 1000 w at `dim` / 2 frequencies (models distilled with guidance, LCM).
Tensor guidance_embedding(double w, int64_t dim, int64_t images) {
  Tensor e({images, dim}, DType::float32);
  const int64_t half = dim / 2;
  std::ranges::fill(e.floats(), 0.f);
  for (int64_t n = 0; n < images; ++n)
    for (int64_t i = 0; i < half; ++i) {
      const float frequency = std::exp(static_cast<float>(i) * -static_cast<float>(std::log(10000.0) / static_cast<double>(half - 1)));
      const float angle = static_cast<float>(w) * 1000.f * frequency;
      e.as<float>()[n * dim + i] = std::sin(angle);
      e.as<float>()[n * dim + half + i] = std::cos(angle);
    }
  return e;
}

}  // namespace

UNetRecipe::UNetRecipe(const Parts& parts, UNetClass unet_class)
    : parts_(parts), unet_(parts.component<UNetComponent>("unet")), vae_(parts.component<VAEComponent>("vae")), class_(std::move(unet_class)) {
  const UNetConfig& unet = unet_.config();
  const LatentFormat vae = vae_.latents();
  const auto fail = [](const auto&... args) { throw UserError(cat(args...)); };
  const bool takes_mask = class_.task == Task::inpainting && unet.in_channels == 2 * vae.channels + 1;
  if (unet.in_channels != vae.channels && !takes_mask)
    fail(parts.folder("unet"), " takes ", unet.in_channels, " channels (in_channels) and the latents of ", parts.folder("vae"), " have ",
         vae.channels, " (latent_channels)", kind_of(unet.in_channels, vae.channels), "; a ", parts.class_name,
         " needs a UNet that takes the latents alone");
  if (unet.out_channels != vae.channels)
    fail(parts.folder("unet"), " gives ", unet.out_channels, " channels (out_channels) and the latents of ", parts.folder("vae"), " have ",
         vae.channels, " (latent_channels): expected the same number");
  for (const std::string_view name : class_.controlled ? controlnets_of(parts) : std::vector<std::string_view>()) {
    controlnets_.push_back(&parts.component<ControlNetComponent>(name));
    check_controlnet(parts, name, controlnets_.back()->config(), unet, vae);
  }
  if (vae.picture_channels != 3) fail(parts.folder("vae"), " gives pictures of ", vae.picture_channels, " channels (out_channels): expected 3 (RGB)");
}

Call UNetRecipe::resolve_call(const Prompts& prompt, const CallOptions& options, int64_t prompts) const {
  CallOptions o = options;
  const LatentFormat format = vae_.latents();
  if (class_.task != Task::text_to_image && o.image.empty())
    throw UsageError(cat("a ", parts_.class_name, " begins with a picture: give it as image"));
  if (class_.task == Task::inpainting && o.mask_image.empty())
    throw UsageError(cat("a ", parts_.class_name, " repaints what a mask shows white: give it as mask_image"));
  if (const double s = o.strength.value_or(class_.strength); !(s >= 0 && s <= 1)) throw UsageError(cat("strength is ", s, ": expected 0 to 1"));
  const bool as_latents = class_.task == Task::image_to_image && o.latents.defined();
  if (class_.task == Task::image_to_image && !class_.controlled && (o.height || o.width))
    throw UsageError(cat("a ", parts_.class_name, " does not take height and width: the picture has its own"));
  const auto take_size_of = [&](const ImageInput& image) {
    const Size size = size_of(image, format.scale);
    if (!o.height) o.height = size.first;
    if (!o.width) o.width = size.second;
  };
  if (class_.task == Task::image_to_image || (class_.task == Task::inpainting && class_.controlled))
    take_size_of(as_latents ? ImageInput(o.latents) : o.image);
  if (const auto start = o.denoising_start, end = o.denoising_end; start) {
    if (!(*start >= 0 && *start <= 1)) throw UsageError(cat("denoising_start is ", *start, ": expected a fraction between 0 and 1"));
    if (end && *end > 0 && *end < 1 && *start >= *end)
      throw UsageError(cat("denoising_start is ", *start, " and denoising_end ", *end, ": expected the first to be smaller"));
  }
  if (class_.controlled) {
    check_control(o, nets(), prompts);
    if (class_.task == Task::text_to_image) take_size_of(o.control_image.front());
    if (o.controlnet_conditioning_scale.empty()) o.controlnet_conditioning_scale = {class_.control_scale};
  }
  Call call = resolve_common(prompt, o, prompts, default_size(), format.scale);
  call.guidance_scale = o.guidance_scale.value_or(class_.guidance_scale);
  call.guidance = call.guidance_scale > 1 && !is_guidance_distilled();
  if (class_.task == Task::image_to_image && !o.latents.defined())
    check_input(o.image, "image", call.images, format.channels, call.height / format.scale, call.width / format.scale);
  const Shape noise{call.images, format.channels, call.height / format.scale, call.width / format.scale};
  if (class_.task == Task::image_to_image && o.latents.defined() && o.latents.shape() != noise)
    throw UsageError(cat("latents have shape ", to_string(o.latents.shape()), ": expected ", to_string(noise)));
  if (class_.task == Task::inpainting) check_inpainting(call, reads_mask(), format);
  call.images_in = class_.task == Task::text_to_image || (class_.task == Task::image_to_image && o.latents.defined()) || o.image.latents.defined()
                       ? 0
                       : o.image.count();
  return call;
}

void UNetRecipe::check_text_width(std::span<const std::string_view> encoders) const {
  int64_t width = 0;
  std::string folders;
  int count = 0;
  for (const std::string_view name : encoders) {
    if (!parts_.has(name)) continue;
    width += parts_.component<CLIPTextComponent>(name).config().hidden_size;
    folders += cat(count++ ? " and " : "", parts_.folder(name));
  }
  if (width != unet_.config().cross_attention_dim)
    throw UserError(cat(folders, count > 1 ? " give" : " gives", " prompts of width ", width, " (hidden_size), ", parts_.folder("unet"), " takes ",
                        unet_.config().cross_attention_dim, " (cross_attention_dim): expected the parts of one model"));
}

void UNetRecipe::check_added_conditions(bool wanted) const {
  const bool takes = unet_.config().addition_embed_type == "text_time";
  if (takes && !wanted)
    throw UserError(cat(parts_.folder("unet"), " takes a pooled prompt and sizes (addition_embed_type \"text_time\"), as SDXL's do: a ",
                        parts_.class_name, " gives none"));
  if (!takes && wanted)
    throw UserError(cat(parts_.folder("unet"), " takes no pooled prompt and sizes (addition_embed_type): a ", parts_.class_name, " gives them"));
}

void UNetRecipe::add_guidance_embedding(const Call& call, Conditioning& conditioning) const {
  const int64_t width = unet_.config().time_cond_proj_dim;
  if (is_guidance_distilled())
    conditioning.positive["timestep_cond"] = guidance_embedding(call.guidance_scale - 1, width, call.images);
  else if (takes_guidance())  // zeros add nothing: its projection has no bias
    conditioning.positive["timestep_cond"] = Tensor::zeros({call.images, width});
}

Size UNetRecipe::default_size() const {
  const int64_t scale = vae_.latents().scale;
  return {unet_.config().sample_height * scale, unet_.config().sample_width * scale};
}

CallOptions UNetRecipe::blank_call(Size size) const {
  if (class_.task == Task::text_to_image && !class_.controlled) return Recipe::blank_call(size);
  const Image white = blank_picture(size.first ? size.first : default_size().first, size.second ? size.second : default_size().second);
  CallOptions options = class_.task != Task::image_to_image ? Recipe::blank_call(size) : CallOptions{};
  if (class_.task != Task::text_to_image) options.image = white;
  options.control_image.assign(nets(), white);
  if (class_.task == Task::inpainting) options.mask_image = white;
  return options;
}

void UNetRecipe::set_size(CallOptions& call, Size size) const {
  if (class_.task != Task::image_to_image || class_.controlled) return Recipe::set_size(call, size);
  call.height = call.width = 0;
  for (Image& image : call.image.images)
    if (Size{image.height(), image.width()} != size) image = image.resized(static_cast<int>(size.first), static_cast<int>(size.second));
}

SchedulerTimesteps UNetRecipe::timesteps(const Call& call) const {
  const CallOptions& o = call.options;
  SchedulerTimesteps request{.timesteps = o.timesteps, .sigmas = o.sigmas, .original_inference_steps = o.original_inference_steps, .eta = o.eta};
  if (o.timesteps.empty() && o.sigmas.empty()) request.num_inference_steps = o.num_inference_steps.value_or(default_steps());
  return request;
}

UNetShape UNetRecipe::shape_of(const Call& call) const {
  const int64_t scale = vae_.latents().scale;
  return {.batch = call.predictions(), .height = call.height / scale, .width = call.width / scale, .tokens = tokens(call), .controlled = nets() > 0};
}

GraphRequest UNetRecipe::net_request(size_t net, const Call& call) const {
  UNetShape shape = shape_of(call);
  if (call.options.guess_mode) shape.batch = call.images;
  return controlnets_[net]->request(shape, call.rows);
}

GraphRequest UNetRecipe::unet_request(const Call& call) const { return unet_.request(shape_of(call), call.rows); }

// A row an image: a prompt's images share its picture.
std::vector<Tensor> UNetRecipe::control_pictures(const Call& call) const {
  std::vector<Tensor> result;
  for (const ImageInput& input : call.options.control_image) {
    std::vector<Tensor> rows;
    rows.reserve(input.images.size());
    for (const Image& image : input.images)
      rows.push_back(to_values(class_.task == Task::inpainting ? fitted(call, image) : image, call.height, call.width));
    result.push_back(repeat_rows(concat_rows(rows), call.images / input.count()));
  }
  return result;
}

std::vector<SessionNeed> UNetRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = text_sessions(call);
  const int64_t scale = vae_.latents().scale;
  if (call.images_in > 0) add_needs(needs, vae_.encode_requests(1, call.height, call.width), Stage::encode);
  needs.push_back({"unet", unet_request(call), Stage::denoise});
  for (size_t i = 0; i < nets(); ++i) needs.push_back({controlnet_name(i), net_request(i, call), Stage::denoise});
  if (!call.options.output_latent) add_needs(needs, vae_.decode_requests(1, call.height / scale, call.width / scale), Stage::decode);
  return needs;
}

StepRange UNetRecipe::steps(const Call& call, const Scheduler& scheduler) const {
  const CallOptions& o = call.options;
  StepRange range = Recipe::steps(call, scheduler);
  if (class_.task != Task::text_to_image) {
    const int all = o.timesteps.empty() && o.sigmas.empty() ? o.num_inference_steps.value_or(default_steps()) : range.last;
    range.first = o.denoising_start && *o.denoising_start > 0 && *o.denoising_start < 1
                      ? first_step(o.denoising_start, scheduler)
                      : steps_of_strength(all, strength(call), scheduler, counts_steps()).first;
  }
  range.last = last_step(o.denoising_end, range.first, scheduler);
  if (class_.task != Task::text_to_image && range.first >= range.last)
    throw UsageError("denoising_start and denoising_end leave no step: expected more steps, or fractions farther apart");
  return range;
}

Start UNetRecipe::start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
                        Request& request) const {
  switch (class_.task) {
    case Task::image_to_image:
      return start_of_image(call, vae_, own_statistics(), scheduler, steps, noise, request);
    case Task::inpainting:
      return start_of_inpainting(call, conditioning, vae_, reads_mask(), strength(call), scheduler, steps, noise, request);
    default:
      return Recipe::start(call, conditioning, scheduler, steps, noise, request);
  }
}

Tensor UNetRecipe::latents(const Call& call, const Conditioning&, const Scheduler& scheduler, int, Noise& noise) const {
  const int64_t scale = vae_.latents().scale;
  return initial_latents(call.options, {call.images, vae_.latents().channels, call.height / scale, call.width / scale}, scheduler, noise);
}

std::unique_ptr<Predictor> UNetRecipe::predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                                 Request& request) const {
  GuidedPredictorOptions options{.name = unet_.name(), .scale = call.guidance_scale, .rescale = static_cast<float>(call.options.guidance_rescale)};
  std::vector<SessionLease> nets;
  for (size_t i = 0; i < controlnets_.size(); ++i) nets.push_back(controlnets_[i]->lease(net_request(i, call), request));
  SessionLease session = unet_.lease(unet_request(call), request);
  if (!nets.empty()) {
    // Fractions are of the schedule from where it begins, wherever it ends.
    const StepRange whole{steps(call, scheduler).first, static_cast<int>(scheduler.timesteps().size())};
    if (call.ranks && call.options.guess_mode) throw UsageError("guess_mode changes the positive prediction alone: its guidance is for one process");
    options.nets = std::make_shared<ControlNets>(std::move(nets), control_pictures(call), call, conditioning,
                                                 call.options.guess_mode ? Guidance::none : guidance_of(call, Guidance::halves),
                                                 timesteps_of(call, scheduler), whole, *session, request);
  }
  return guided_by_halves(std::move(session), call, conditioning, scheduler, options, request);
}

Pictures UNetRecipe::decode(const Call& call, const Tensor& latents, Request& request) const {
  const LatentFormat format = vae_.latents();
  const int64_t channels = latents.dim(1), plane = latents.dim(2) * latents.dim(3);
  const bool statistics = own_statistics() && !format.mean.empty() && !format.std.empty();
  const auto latents_of = [&](int64_t n) {
    Tensor z = latents.rows(n, n + 1).clone();
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < plane; ++i) {
        float& x = z.as<float>()[c * plane + i];
        const auto channel = static_cast<size_t>(c);
        x = statistics ? x * format.std[channel] / static_cast<float>(format.scaling_factor) + format.mean[channel]
                       : x / static_cast<float>(format.scaling_factor);
      }
    return z;
  };
  std::vector<Image> pictures = decode_each(latents.dim(0), latents_of, vae_, parts_.folder("vae"), request);
  if (call.options.padding_mask_crop)
    for (Image& picture : pictures) picture = whole_picture(call, picture);
  return {.images = std::move(pictures), .frames = {}};
}

}  // namespace vivace
