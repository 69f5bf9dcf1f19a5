// OpenAI's images API.
#include <chrono>
#include <cmath>

#include "base/joined.h"
#include "base/log.h"
#include "base/numbers.h"
#include "encode.h"
#include "service.h"

namespace vivace::server {
namespace {

int64_t unix_now() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// "1024x768" is a width and a height; "auto" the model's own.
void read_size(Fields& fields, CallOptions& call) {
  const std::string text = fields.text("size", 40).value_or("auto");
  if (text == "auto") return;
  const size_t x = text.find('x');
  try {
    call.width = parse_number<int>(text.substr(0, x), "size");
    call.height = parse_number<int>(x == std::string::npos ? "" : text.substr(x + 1), "size");
  } catch (const UsageError&) {
    call.width = 0;
  }
  if (call.width <= 0 || call.height <= 0)
    throw FieldError("size", cat("size is \"", text, "\": expected a width and a height, as in \"1024x768\", or \"auto\""));
}

// Less quality is fewer steps, where the request does not say how many.
double steps_share(const std::string& quality) { return quality == "low" ? 1.0 / 3 : quality == "medium" ? 2.0 / 3 : 1; }

struct Settings {
  std::string quality, response_format, background;
  bool stream = false;
};

Settings read_settings(Fields& f, Drawing& drawing) {
  Settings s;
  read_size(f, drawing.call);
  s.quality = f.choice("quality", {"auto", "low", "medium", "high", "standard", "hd"}).value_or("auto");
  drawing.steps_share = steps_share(s.quality);
  if (f.text("output_format", 20) == "webp") throw FieldError("output_format", "output_format is \"webp\": this server writes \"png\" and \"jpeg\"");
  drawing.format = f.choice("output_format", {"png", "jpeg"}) == "jpeg" ? Format::jpeg : Format::png;
  const auto compression = f.integer("output_compression", 0, 100);
  if (compression && *compression != 100 && drawing.format == Format::png)
    throw FieldError("output_compression", "output_compression is for output_format \"jpeg\": a PNG loses nothing");
  drawing.jpeg_quality = static_cast<int>(std::max<int64_t>(compression.value_or(95), 1));
  s.background = f.choice("background", {"auto", "opaque", "transparent"}).value_or("auto");
  if (s.background == "transparent") throw FieldError("background", "background is \"transparent\": pictures are opaque");
  f.choice("moderation", {"auto", "low"});  // there is none to be told how strict it is
  f.text("user", 1000);
  s.response_format = f.choice("response_format", {"b64_json", "url"}).value_or("b64_json");
  s.stream = f.flag("stream").value_or(false);
  const auto partial = f.integer("partial_images", 0, 3).value_or(0);
  if (partial > 0 && !s.stream) throw FieldError("partial_images", "partial_images is for \"stream\": true");
  drawing.partial_images = static_cast<int>(partial);
  f.refuse("loras", "adapters are given when the server starts, with --lora");
  f.refuse("strength", "it is for a picture to begin with, which this request has none of");
  return s;
}

std::string size_text(const Picture& picture) { return cat(picture.width, 'x', picture.height); }

// Tokens: those of the prompt, and one for each 16 x 16 pixels.
nlohmann::json usage(Service& service, const Drawing& drawing, const std::vector<std::shared_ptr<const Picture>>& pictures) {
  const auto model = service.models.loaded(drawing.model);
  const int64_t in = model ? model->tokens(drawing.prompt) : 0;
  int64_t out = 0;
  for (const auto& picture : pictures) out += int64_t{picture->width} * picture->height / 256;
  return {
      {"input_tokens", in}, {"output_tokens", out}, {"total_tokens", in + out}, {"input_tokens_details", {{"text_tokens", in}, {"image_tokens", 0}}}};
}

// "https://host" as the client calls this server.
std::string own_address(const Exchange& x) {
  const std::string* host = x.request.header("host");
  const std::string* scheme = x.service.behind_proxy ? x.request.header("x-forwarded-proto") : nullptr;
  return cat(scheme && *scheme == "https" ? "https" : "http", "://", host ? *host : "localhost");
}

nlohmann::json whole_answer(Service& service, const Job& job, const JobStatus& status, const Settings& settings, const std::string& address) {
  nlohmann::json data = nlohmann::json::array();
  for (size_t i = 0; i < status.pictures.size(); ++i) {
    nlohmann::json one{{"seed", status.pictures[i]->seed}};
    if (settings.response_format == "url")
      one["url"] = cat(address, "/jobs/", job.id, "/images/", i);
    else
      one["b64_json"] = base64(status.pictures[i]->bytes);
    data.push_back(std::move(one));
  }
  return {{"created", unix_now()},
          {"data", std::move(data)},
          {"background", "opaque"},
          {"output_format", format_name(job.drawing.format)},
          {"quality", settings.quality},
          {"size", status.pictures.empty() ? "" : size_text(*status.pictures[0])},
          {"usage", usage(service, job.drawing, status.pictures)}};
}

void answer_whole(Exchange& x, const std::shared_ptr<Job>& job, const Settings& settings) {
  const auto answer = [&service = x.service, reply = x.reply, settings, address = own_address(x), path = x.request.path](const Job& j,
                                                                                                                         JobEvent event) {
    if (event != JobEvent::ended) return;
    const JobStatus status = j.status();
    if (status.state == JobState::done)
      reply->send({.body = json_text(whole_answer(service, j, status, settings, address))});
    else
      reply->send(failure_response(path, status.failure));
    if (settings.response_format != "url" || status.state != JobState::done) service.jobs.forget(j);
  };
  job->listen(answer);
}

void answer_events(Exchange& x, const std::shared_ptr<Job>& job, const Settings& settings) {
  x.reply->begin_events(false);
  const auto answer = [&service = x.service, reply = x.reply, settings](const Job& j, JobEvent event) {
    const JobStatus status = j.status();
    const auto send = [&](const char* type, nlohmann::json data, bool may_be_dropped) {
      data["type"] = type;
      data["created_at"] = unix_now();
      data["quality"] = settings.quality;
      data["background"] = "opaque";
      reply->event(type, json_text(data), may_be_dropped);
    };
    if (event == JobEvent::preview && status.preview)
      send("image_generation.partial_image",
           {{"b64_json", base64(status.preview->bytes)},
            {"partial_image_index", status.previews - 1},
            {"size", size_text(*status.preview)},
            {"output_format", "png"}},
           true);
    if (event == JobEvent::picture) {
      const Picture& picture = *status.pictures.back();
      send("image_generation.completed",
           {{"b64_json", base64(picture.bytes)},
            {"size", size_text(picture)},
            {"output_format", format_name(picture.format)},
            {"seed", picture.seed},
            {"usage", usage(service, j.drawing, {status.pictures.back()})}},
           false);
    }
    if (event != JobEvent::ended) return;
    if (status.state != JobState::done) {
      const Response failure = failure_response("/v1", status.failure);
      reply->send(failure);  // where no event has been sent yet
      nlohmann::json data = nlohmann::json::parse(failure.body);
      data["type"] = "error";
      reply->event("error", json_text(data), false);
    }
    reply->end_events();
    service.jobs.forget(j);
  };
  job->listen(answer);
}

// What is wrong with a height or a width is wrong with the size.
std::shared_ptr<Job> submit_sized(Exchange& x, Drawing drawing) {
  try {
    return submit(x, std::move(drawing));
  } catch (const UsageError& error) {
    const std::string what = error.what();
    if (what.starts_with("height is ") || what.starts_with("width is ")) throw FieldError("size", "size: " + what);
    throw;
  }
}

void generations(Exchange& x) {
  Fields fields(x.request.body);
  Drawing drawing = read_drawing(fields, x.service);
  const Settings settings = read_settings(fields, drawing);
  if (settings.stream && settings.response_format == "url")
    throw FieldError("response_format", "response_format is \"url\": a stream has the pictures themselves, b64_json");
  fields.finish();
  const auto job = submit_sized(x, std::move(drawing));
  cancel_when_gone(x, job);
  if (settings.stream)
    answer_events(x, job, settings);
  else
    answer_whole(x, job, settings);
}

void variations(Exchange&) {
  throw FieldError("", "variations are not drawn here: no model that this server knows makes them; expected /v1/images/generations", 501);
}

void edits(Exchange&) { throw FieldError("", "pictures are not edited here yet: expected /v1/images/generations", 501); }

nlohmann::json model_json(Service& service, const ModelEntry& entry) {
  nlohmann::json model{{"id", entry.name}, {"object", "model"}, {"created", 0}, {"owned_by", "vivace"}};
  const auto loaded = service.models.loaded(entry.name);
  model["class_name"] = loaded ? loaded->pipe().class_name() : entry.class_name;
  model["loaded"] = loaded != nullptr;
  if (loaded) {
    const LoadedModel::Settings own = loaded->settings("", {});
    model["defaults"] = {{"width", own.width},
                         {"height", own.height},
                         {"num_inference_steps", own.steps},
                         {"guidance_scale", own.guidance_scale},
                         {"scheduler", loaded->scheduler_class()}};
  }
  return model;
}

void list_models(Exchange& x) {
  nlohmann::json data = nlohmann::json::array();
  for (const ModelEntry& entry : x.service.models.entries()) data.push_back(model_json(x.service, entry));
  send_json(x, {{"object", "list"}, {"data", std::move(data)}});
}

void one_model(Exchange& x) {
  const ModelEntry* entry = x.service.models.find(x.parts.at(0));
  if (!entry) throw FieldError("model", cat("there is no model \"", x.parts[0], '"'), 404);
  send_json(x, model_json(x.service, *entry));
}

constexpr size_t kBody = 1 << 20;
constexpr Route kRoutes[] = {
    {"POST", "/v1/images/generations", generations, kBody},
    {"POST", "/v1/images/edits", edits, size_t{64} << 20},
    {"POST", "/v1/images/variations", variations, size_t{64} << 20},
    {"GET", "/v1/models", list_models},
    {"GET", "/v1/models/{model}", one_model},
};

}  // namespace

std::span<const Route> openai_routes() { return kRoutes; }

}  // namespace vivace::server
