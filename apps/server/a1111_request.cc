// The requests of AUTOMATIC1111's web UI, and what it says of pictures.
#include <algorithm>
#include <ctime>
#include <initializer_list>

#include "a1111.h"
#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "decode.h"
#include "samplers.h"
#include "vivace/version.h"

namespace vivace::server {
namespace {

// "sdxl" of "sdxl [31e35c80fc]", as older clients send it.
std::string without_hash(const std::string& title) {
  const size_t hash = title.rfind(" [");
  return hash == std::string::npos || !title.ends_with(']') ? title : title.substr(0, hash);
}

// The layers that A1111 counts from the last, 1, and Diffusers from those that are skipped, none.
void set_clip_skip(CallOptions& call, int64_t layers) {
  if (layers > 1) call.clip_skip = static_cast<int>(layers - 1);
}

// An object inside of the request, as fields of its own.
Fields inner(Fields& fields, std::string_view name) {
  const nlohmann::json* value = fields.value(name);
  return Fields(value ? json_text(*value) : "{}");
}

// A number that changes A1111's pictures, unless it is one of those that do not.
void refuse_other_than(Fields& f, const char* name, std::initializer_list<double> harmless, const char* why) {
  const auto given = f.number(name, -1e9, 1e9);
  if (given && std::ranges::count(harmless, *given) == 0) throw FieldError(name, cat(name, " is ", *given, ": ", why));
}

void refuse_what_there_is_nothing_for(Fields& f) {
  for (const char* name : {"s_churn", "s_tmin"}) refuse_other_than(f, name, {0}, "samplers add no noise of their own");
  refuse_other_than(f, "s_noise", {1}, "samplers scale no noise");
  for (const char* name : {"seed_resize_from_w", "seed_resize_from_h"})
    refuse_other_than(f, name, {-1, 0}, "noise is drawn in the picture's own size");
  f.refuse("enable_hr", "there is no second pass");
  f.refuse("restore_faces", "there is no model for faces");
  f.refuse("tiling", "pictures do not tile");
  f.refuse("styles", "there are no styles");
  f.refuse("subseed_strength", "there are no subseeds");
  f.refuse("script_name", "there are no scripts");
  f.refuse("alwayson_scripts", "there are no scripts");
  f.refuse("refiner_checkpoint", "there is no refiner");
}

// Clients send 1 for true.
std::optional<bool> whole_or_flag(Fields& f, std::string_view name) {
  const nlohmann::json* v = f.value(name);
  if (v && v->is_number_integer()) return f.integer(name, 0, 1) == 1;
  return f.flag(name);
}

}  // namespace

std::string timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d%H%M%S", &parts);
  return text;
}

std::string model_named(Service& service, const std::string& title, const char* field) {
  std::string name = without_hash(title);
  if (!service.models.find(name))
    throw FieldError(field, cat(field, " is \"", title, "\": expected one of ", joined(service.models.entries(), ", ", &ModelEntry::name)));
  return name;
}

Drawing read_txt2img(Fields& f, Service& service) {
  const DrawingLimits& limits = service.limits;
  Drawing drawing{.model = service.models.chosen(), .prompt = f.text("prompt", limits.prompt_bytes).value_or("")};
  drawing.loras = take_loras(drawing.prompt, service.loras);
  CallOptions& call = drawing.call;
  if (const auto negative = f.text("negative_prompt", limits.prompt_bytes); negative && !negative->empty()) call.negative_prompt = Prompts(*negative);
  if (const auto steps = f.integer("steps", 1, limits.steps)) call.num_inference_steps = static_cast<int>(*steps);
  call.guidance_scale = f.number("cfg_scale", 0, 100);
  call.width = f.integer("width", 1, 1 << 16).value_or(0);
  call.height = f.integer("height", 1, 1 << 16).value_or(0);
  call.eta = f.number("eta", 0, 1).value_or(0);
  const int64_t pictures = f.integer("batch_size", 1, limits.pictures).value_or(1) * f.integer("n_iter", 1, limits.pictures).value_or(1);
  if (pictures > limits.pictures)
    throw FieldError("n_iter", cat("n_iter times batch_size is ", pictures, ": expected at most ", limits.pictures, " pictures"));
  auto seed = f.integer("seed", -1, int64_t{1} << 53);
  if (seed == -1) seed.reset();
  drawing.seeds = seeds_from(seed, pictures);
  std::string sampler = f.text("sampler_name", 100).value_or("");
  if (sampler.empty()) sampler = f.text("sampler_index", 100).value_or("");
  const SchedulerChoice choice = scheduler_choice(sampler, f.text("scheduler", 100).value_or(""));
  drawing.scheduler = choice.scheduler;
  drawing.scheduler_config = choice.config;
  Fields overrides = inner(f, "override_settings");
  if (const auto model = overrides.text("sd_model_checkpoint", 1000)) drawing.model = model_named(service, *model, "sd_model_checkpoint");
  if (const std::string vae = overrides.text("sd_vae", 1000).value_or(""); !vae.empty() && vae != "Automatic" && vae != "None")
    throw FieldError("sd_vae", cat("sd_vae is \"", vae, "\": expected Automatic, each model has a VAE of its own"));
  for (const char* name : {"eta_ancestral", "initial_noise_multiplier"})
    refuse_other_than(overrides, name, {1}, "noise has the size that the sampler says");
  refuse_other_than(overrides, "eta_noise_seed_delta", {0}, "noise has the seed that is given");
  set_clip_skip(call, overrides.integer("CLIP_stop_at_last_layers", 1, 12).value_or(1));
  f.replace("override_settings", overrides.known());
  set_clip_skip(call, f.integer("clip_skip", 0, 12).value_or(1));
  refuse_what_there_is_nothing_for(f);
  return drawing;
}

Drawing read_img2img(Fields& f, Service& service) {
  Drawing drawing = read_txt2img(f, service);
  CallOptions& call = drawing.call;
  const int64_t most = service.limits.picture_pixels;
  const nlohmann::json* pictures = f.value("init_images");
  if (!pictures || !pictures->is_array() || pictures->size() != 1 || !pictures->front().is_string())
    throw FieldError("init_images", "init_images: expected a list of one picture, base64");
  call.image = decoded_picture(from_base64(pictures->front().get<std::string>(), "init_images"), "init_images", most);
  call.strength = f.number("denoising_strength", 0, 1).value_or(0.75);
  if (f.integer("resize_mode", 0, 3).value_or(0) != 0)
    throw FieldError("resize_mode", "resize_mode: expected 0, the picture is resized to the size that is asked for");
  const auto mask = f.text("mask", SIZE_MAX);
  if (!mask || mask->empty()) return drawing;
  Image repainted = decoded_picture(from_base64(*mask, "mask"), "mask", most);
  if (f.integer("inpainting_mask_invert", 0, 1).value_or(0) == 1) repainted = inverted(repainted);
  const double blur = f.number("mask_blur", 0, 256).value_or(4);
  call.mask_image = blur > 0 ? repainted.blurred(blur) : repainted;
  if (f.integer("inpainting_fill", 0, 3).value_or(1) != 1)
    throw FieldError("inpainting_fill", "inpainting_fill: expected 1, what is repainted begins with the picture itself");
  if (whole_or_flag(f, "inpaint_full_res").value_or(true))
    call.padding_mask_crop = static_cast<int>(f.integer("inpaint_full_res_padding", 0, 4096).value_or(0));
  return drawing;
}

nlohmann::json info_json(const Job& job, const JobStatus& status) {
  const Drawing& d = job.drawing;
  const Picture& first = *status.pictures.at(0);
  const std::string negative = d.call.negative_prompt && !d.call.negative_prompt->empty() ? d.call.negative_prompt->front() : "";
  nlohmann::json seeds = nlohmann::json::array(), prompts = seeds, negatives = seeds, subseeds = seeds, texts = seeds;
  for (const auto& picture : status.pictures) {
    seeds.push_back(picture->seed);
    prompts.push_back(d.prompt);
    negatives.push_back(negative);
    subseeds.push_back(0);
    texts.push_back(picture->settings);
  }
  return {{"prompt", d.prompt},
          {"all_prompts", prompts},
          {"negative_prompt", negative},
          {"all_negative_prompts", negatives},
          {"seed", first.seed},
          {"all_seeds", seeds},
          {"subseed", 0},
          {"all_subseeds", subseeds},
          {"subseed_strength", 0},
          {"width", first.width},
          {"height", first.height},
          {"sampler_name", d.scheduler},
          {"cfg_scale", d.call.guidance_scale ? nlohmann::json(*d.call.guidance_scale) : nlohmann::json(nullptr)},
          {"steps", status.steps},
          {"batch_size", status.pictures.size()},
          {"restore_faces", false},
          {"face_restoration_model", nullptr},
          {"sd_model_name", d.model},
          {"sd_model_hash", ""},
          {"sd_vae_name", nullptr},
          {"sd_vae_hash", nullptr},
          {"seed_resize_from_w", -1},
          {"seed_resize_from_h", -1},
          {"denoising_strength", d.call.strength.value_or(0)},
          {"extra_generation_params", nlohmann::json::object()},
          {"index_of_first_image", 0},
          {"infotexts", texts},
          {"styles", nlohmann::json::array()},
          {"job_timestamp", timestamp()},
          {"clip_skip", d.call.clip_skip.value_or(0) + 1},
          {"is_using_inpainting_conditioning", job.task == Task::inpainting},
          {"version", cat("Vivace ", VIVACE_VERSION)}};
}

}  // namespace vivace::server
