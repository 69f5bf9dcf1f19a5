// The routes of AUTOMATIC1111's web UI that other programs call. A field of a request that would change the picture and that there is nothing for is
// refused; what only concerns that program's own window or files is ignored, as it ignores what it does not know.
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "base/joined.h"
#include "base/log.h"
#include "encode.h"
#include "samplers.h"
#include "service.h"
#include "vivace/version.h"

namespace vivace::server {
namespace {

std::string timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d%H%M%S", &parts);
  return text;
}

// "sdxl" of "sdxl [31e35c80fc]", as older clients send it.
std::string without_hash(const std::string& title) {
  const size_t hash = title.rfind(" [");
  return hash == std::string::npos || !title.ends_with(']') ? title : title.substr(0, hash);
}

std::string model_named(Service& service, const std::string& title, const char* field) {
  const std::string name = without_hash(title);
  if (!service.models.find(name))
    throw FieldError(field, cat(field, " is \"", title, "\": expected one of ", joined(service.models.entries(), ", ", &ModelEntry::name)));
  return name;
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

void refuse_what_there_is_nothing_for(Fields& f) {
  f.refuse("enable_hr", "there is no second pass");
  f.refuse("restore_faces", "there is no model for faces");
  f.refuse("tiling", "pictures do not tile");
  f.refuse("styles", "there are no styles");
  f.refuse("subseed_strength", "there are no subseeds");
  f.refuse("script_name", "there are no scripts");
  f.refuse("alwayson_scripts", "there are no scripts");
  f.refuse("refiner_checkpoint", "there is no refiner");
  f.refuse("save_images", "nothing is written on the server");
}

Drawing read_txt2img(Fields& f, Service& service) {
  const DrawingLimits& limits = service.limits;
  Drawing drawing{.model = service.models.chosen(), .prompt = f.text("prompt", limits.prompt_bytes).value_or("")};
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
  set_clip_skip(call, overrides.integer("CLIP_stop_at_last_layers", 1, 12).value_or(1));
  set_clip_skip(call, f.integer("clip_skip", 0, 12).value_or(1));
  refuse_what_there_is_nothing_for(f);
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
          {"denoising_strength", 0},
          {"extra_generation_params", nlohmann::json::object()},
          {"index_of_first_image", 0},
          {"infotexts", texts},
          {"styles", nlohmann::json::array()},
          {"job_timestamp", timestamp()},
          {"clip_skip", d.call.clip_skip.value_or(0) + 1},
          {"is_using_inpainting_conditioning", false},
          {"version", cat("Vivace ", VIVACE_VERSION)}};
}

void txt2img(Exchange& x) {
  Fields fields(x.request.body);
  Drawing drawing = read_txt2img(fields, x.service);
  const bool send_images = fields.flag("send_images").value_or(true);
  const auto job = submit(x, std::move(drawing), fields.text("force_task_id", 200).value_or(""));
  cancel_when_gone(x, job);
  const auto answer = [&service = x.service, reply = x.reply, parameters = fields.object(), path = x.request.path, send_images](const Job& j,
                                                                                                                                JobEvent event) {
    if (event != JobEvent::ended) return;
    const JobStatus status = j.status();
    if (status.state == JobState::done) {
      nlohmann::json images = nlohmann::json::array();
      for (const auto& picture : status.pictures)
        if (send_images) images.push_back(base64(picture->bytes));
      // What it says of the picture is a text that holds JSON.
      reply->send({.body = json_text({{"images", std::move(images)}, {"parameters", parameters}, {"info", json_text(info_json(j, status))}})});
    } else {
      reply->send(failure_response(path, status.failure));
    }
    service.jobs.forget(j);
  };
  job->listen(answer);
}

// The job that the request names, else one of the same address.
std::shared_ptr<Job> job_at_hand(const Exchange& x) {
  const auto task = x.request.parameter("force_task_id");
  return task ? x.service.jobs.find_task(*task) : x.service.jobs.current_of(x.client);
}

void progress(Exchange& x) {
  const auto job = job_at_hand(x);
  const JobStatus status = job ? job->status() : JobStatus{};
  nlohmann::json image = nullptr;
  if (job && x.request.parameter("skip_current_image") != "true") {
    job->watch();
    if (status.preview) image = base64(status.preview->bytes);
  }
  const size_t pictures = job ? job->drawing.seeds.size() : 0;
  send_json(x, {{"progress", status.progress},
                {"eta_relative", status.seconds_left},
                {"state",
                 {{"skipped", false},
                  {"interrupted", job && job->interrupted()},
                  {"stopping_generation", job && job->interrupted()},
                  {"job", job ? job->id : ""},
                  {"job_count", pictures},
                  {"job_timestamp", job ? timestamp() : "0"},
                  {"job_no", status.pictures.size()},
                  {"sampling_step", status.step},
                  {"sampling_steps", status.steps}}},
                {"current_image", image},
                {"textinfo", job && status.state == JobState::queued ? nlohmann::json("Waiting") : nlohmann::json(nullptr)}});
}

// No further steps of any of its pictures: the one at hand is decoded as it is. One that waits ends with nothing drawn.
void interrupt(Exchange& x) {
  if (const auto job = job_at_hand(x)) {
    if (job->started() == Clock::time_point{})
      x.service.engine.cancel(*job, {499, "the job was interrupted before it began", ""});
    else
      job->interrupt();
  }
  send_json(x, nlohmann::json::object());
}

void skip(Exchange& x) {
  if (const auto job = job_at_hand(x)) job->skip();
  send_json(x, nlohmann::json::object());
}

nlohmann::json options_json(const Service& service) {
  return {{"sd_model_checkpoint", service.models.chosen()},
          {"sd_checkpoint_hash", ""},
          {"sd_vae", "Automatic"},
          {"CLIP_stop_at_last_layers", 1},
          {"samples_format", "png"},
          {"show_progress_every_n_steps", 1}};
}

void options(Exchange& x) { send_json(x, options_json(x.service)); }

// Clients send back all that they were told with what they change.
void set_options(Exchange& x) {
  Fields fields(x.request.body);
  const auto model = fields.text("sd_model_checkpoint", 1000);
  const std::string name = model ? model_named(x.service, *model, "sd_model_checkpoint") : x.service.models.chosen();
  const nlohmann::json known = options_json(x.service);
  for (const auto& [key, value] : fields.object().items()) {
    if (key == "sd_model_checkpoint" || value.is_null()) continue;
    if (!known.contains(key) || known[key] != value)
      throw FieldError(key, cat("the option ", key, " cannot be ", json_text(value).substr(0, 60), ": only sd_model_checkpoint can be changed"));
  }
  x.service.models.choose(name);
  send_json(x, nlohmann::json::object());
}

void list_models(Exchange& x) {
  nlohmann::json list = nlohmann::json::array();
  for (const ModelEntry& entry : x.service.models.entries())
    list.push_back(
        {{"title", entry.name}, {"model_name", entry.name}, {"hash", nullptr}, {"sha256", nullptr}, {"filename", entry.folder}, {"config", nullptr}});
  send_json(x, list);
}

void list_samplers(Exchange& x) {
  nlohmann::json list = nlohmann::json::array();
  for (const Sampler& sampler : samplers())
    list.push_back({{"name", sampler.name}, {"aliases", {sampler.scheduler}}, {"options", nlohmann::json::object()}});
  send_json(x, list);
}

void list_spacings(Exchange& x) {
  nlohmann::json list = nlohmann::json::array();
  for (const Spacing& s : spacings())
    list.push_back({{"name", s.name}, {"label", s.label}, {"aliases", nullptr}, {"default_rho", -1.0}, {"need_inner_model", false}});
  send_json(x, list);
}

// There are none.
void empty_list(Exchange& x) { send_json(x, nlohmann::json::array()); }
// Clients take the first for "off".
void list_upscalers(Exchange& x) {
  send_json(x, {{{"name", "None"}, {"model_name", nullptr}, {"model_path", nullptr}, {"model_url", nullptr}, {"scale", 1.0}}});
}
// Models are named when the server is started.
void refresh(Exchange& x) { send_json(x, nullptr); }

void memory(Exchange& x) {
  const auto page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
  int64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  const int64_t total = page * ::sysconf(_SC_PHYS_PAGES);
  send_json(x, {{"ram", {{"free", page * ::sysconf(_SC_AVPHYS_PAGES)}, {"used", resident * page}, {"total", total}}},
                {"cuda", {{"error", "unavailable"}}}});
}

constexpr size_t kBody = 1 << 20;
constexpr Route kRoutes[] = {
    {"POST", "/sdapi/v1/txt2img", txt2img, kBody},
    {"GET", "/sdapi/v1/progress", progress},
    {"POST", "/sdapi/v1/interrupt", interrupt, kBody},
    {"POST", "/sdapi/v1/skip", skip, kBody},
    {"GET", "/sdapi/v1/options", options},
    {"POST", "/sdapi/v1/options", set_options, kBody},
    {"GET", "/sdapi/v1/sd-models", list_models},
    {"GET", "/sdapi/v1/samplers", list_samplers},
    {"GET", "/sdapi/v1/schedulers", list_spacings},
    {"GET", "/sdapi/v1/sd-vae", empty_list},
    {"GET", "/sdapi/v1/upscalers", list_upscalers},
    {"GET", "/sdapi/v1/latent-upscale-modes", empty_list},
    {"GET", "/sdapi/v1/loras", empty_list},
    {"POST", "/sdapi/v1/refresh-checkpoints", refresh, kBody},
    {"POST", "/sdapi/v1/refresh-loras", refresh, kBody},
    {"POST", "/sdapi/v1/refresh-vae", refresh, kBody},
    {"GET", "/sdapi/v1/memory", memory},
};

}  // namespace

std::span<const Route> a1111_routes() { return kRoutes; }

}  // namespace vivace::server
