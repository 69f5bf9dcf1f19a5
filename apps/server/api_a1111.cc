// The routes of AUTOMATIC1111's web UI that other programs call.
#include <unistd.h>

#include <fstream>

#include "a1111.h"
#include "base/json.h"
#include "base/log.h"
#include "encode.h"
#include "samplers.h"

namespace vivace::server {
namespace {

void draw(Exchange& x, Drawing (*read)(Fields&, Service&)) {
  Fields fields(x.request.body);
  Drawing drawing = read(fields, x.service);
  const bool send_images = fields.flag("send_images").value_or(true);
  const auto job = submit(x, std::move(drawing), fields.text("force_task_id", 200).value_or(""));
  cancel_when_gone(x, job);
  // As they came, but for the pictures, which the client has, and for what nobody reads: the job holds them until its end.
  nlohmann::json parameters = fields.known();
  parameters.erase("init_images");
  parameters.erase("mask");
  answer_at_end(x, job, [parameters = std::move(parameters), send_images](const Job& j, const JobStatus& status) {
    nlohmann::json images = nlohmann::json::array();
    for (const auto& picture : status.pictures)
      if (send_images) images.push_back(base64(picture->bytes));
    // What it says of the picture is a text that holds JSON.
    return nlohmann::json{{"images", std::move(images)}, {"parameters", parameters}, {"info", json_text(info_json(j, status))}};
  });
}

void txt2img(Exchange& x) { draw(x, read_txt2img); }
void img2img(Exchange& x) { draw(x, read_img2img); }

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
void list_loras(Exchange& x) {
  nlohmann::json list = nlohmann::json::array();
  for (const LoraEntry& entry : x.service.loras.entries())
    list.push_back({{"name", entry.name}, {"alias", entry.name}, {"path", entry.path}, {"metadata", nlohmann::json::object()}});
  send_json(x, list);
}
void refresh_loras(Exchange& x) {
  x.service.loras.refresh();
  send_json(x, nullptr);
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

constexpr Route kA1111Routes[] = {
    {"POST", "/sdapi/v1/txt2img", txt2img, kTextBody},
    {"POST", "/sdapi/v1/img2img", img2img, kPictureBody},
    {"GET", "/sdapi/v1/progress", progress},
    {"POST", "/sdapi/v1/interrupt", interrupt, kTextBody},
    {"POST", "/sdapi/v1/skip", skip, kTextBody},
    {"GET", "/sdapi/v1/options", options},
    {"POST", "/sdapi/v1/options", set_options, kTextBody},
    {"GET", "/sdapi/v1/sd-models", list_models},
    {"GET", "/sdapi/v1/samplers", list_samplers},
    {"GET", "/sdapi/v1/schedulers", list_spacings},
    {"GET", "/sdapi/v1/sd-vae", empty_list},
    {"GET", "/sdapi/v1/upscalers", list_upscalers},
    {"GET", "/sdapi/v1/latent-upscale-modes", empty_list},
    {"GET", "/sdapi/v1/loras", list_loras},
    {"POST", "/sdapi/v1/refresh-checkpoints", refresh, kTextBody},
    {"POST", "/sdapi/v1/refresh-loras", refresh_loras, kTextBody},
    {"POST", "/sdapi/v1/refresh-vae", refresh, kTextBody},
    {"GET", "/sdapi/v1/memory", memory},
};

}  // namespace

std::span<const Route> a1111_routes() { return kA1111Routes; }

}  // namespace vivace::server
