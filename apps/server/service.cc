#include "service.h"

#include <random>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "decode.h"
#include "encode.h"
#include "samplers.h"

namespace vivace::server {
namespace {

// Seconds within which one that was started again, or another behind the same proxy, is there.
constexpr int kRetryAfter = 5;

nlohmann::json openai_error(const Failure& failure) {
  const char* type = "server_error";
  nlohmann::json code = nullptr;
  if (failure.status < 500) type = "invalid_request_error";
  if (failure.status == 401) type = "authentication_error", code = "invalid_api_key";
  if (failure.status == 429) type = "rate_limit_error", code = "rate_limit_exceeded";
  if (failure.status == 404 && failure.field == "model") code = "model_not_found";
  return {{"error",
           {{"message", failure.message},
            {"type", type},
            {"param", failure.field.empty() ? nlohmann::json(nullptr) : nlohmann::json(failure.field)},
            {"code", code}}}};
}

// As FastAPI, which A1111 is built on, says that a field is wrong, and as A1111 says the rest.
nlohmann::json a1111_error(const Failure& failure) {
  if (failure.field.empty()) return {{"error", "Error"}, {"detail", failure.message}, {"body", ""}, {"errors", failure.message}};
  return {{"detail", {{{"loc", {"body", failure.field}}, {"msg", failure.message}, {"type", "value_error"}}}}};
}

}  // namespace

Response failure_response(const std::string& path, const Failure& given, int retry_after) {
  Failure failure = given;
  // What is wrong with a height or a width is wrong with OpenAI's size.
  if (path.starts_with("/v1") && (failure.field == "height" || failure.field == "width")) {
    failure.field = "size";
    failure.message = "size: " + failure.message;
  }
  Response response{.status = failure.status, .body = json_text(path.starts_with("/sdapi/") ? a1111_error(failure) : openai_error(failure))};
  if (retry_after == 0 && failure.status == 503) retry_after = kRetryAfter;
  if (retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(retry_after));
  return response;
}

void send_json(Exchange& exchange, const nlohmann::json& value, int status) { exchange.reply->send({.status = status, .body = json_text(value)}); }

std::string read_model(Fields& fields, Service& service) {
  std::string name = fields.text("model", 1000).value_or("");
  if (name.empty()) return service.models.chosen();
  if (!service.models.find(name))
    throw FieldError("model", cat("there is no model \"", name, "\": expected one of ", joined(service.models.entries(), ", ", &ModelEntry::name)),
                     404);
  return name;
}

Format read_format(Fields& f) { return *format_of(f.choice("output_format", {"png", "jpeg", "webp"}).value_or("png")); }

std::vector<uint64_t> seeds_from(std::optional<int64_t> first, int64_t count) {
  const uint64_t begin = first ? static_cast<uint64_t>(*first) : std::random_device()();
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < count; ++i) seeds.push_back(begin + static_cast<uint64_t>(i));
  return seeds;
}

namespace {

// "style", or {"name": "style", "weight": 0.8}.
void read_lora(const nlohmann::json& value, const Loras& loras, std::vector<LoraChoice>& chosen) {
  if (value.is_string()) return loras.choose(chosen, value.get<std::string>(), 1, "loras");
  Fields f(value.is_object() ? json_text(value) : "{}");
  const auto name = f.text("name", 1000);
  if (!name) throw FieldError("loras", "loras: expected names, or objects as {\"name\": \"style\", \"weight\": 0.8}");
  const double weight = f.number("weight", -100, 100).value_or(1);
  f.finish();
  loras.choose(chosen, *name, weight, "loras");
}

std::vector<LoraChoice> read_loras(Fields& f, const Loras& loras) {
  std::vector<LoraChoice> chosen;
  const nlohmann::json* list = f.value("loras");
  if (!list) return chosen;
  if (!list->is_array()) throw FieldError("loras", "loras is no list: expected one, as [\"style\"]");
  for (const nlohmann::json& value : *list) read_lora(value, loras, chosen);
  return chosen;
}

}  // namespace

void read_picture(Fields& f, Service& service, CallOptions& call) {
  call.width = f.integer("width", 1, 1 << 16).value_or(0);
  call.height = f.integer("height", 1, 1 << 16).value_or(0);
  const int64_t most = service.limits.picture_pixels;
  const auto file = [&](const char* name) { return f.text(name, SIZE_MAX); };
  if (const auto image = file("image")) call.image = decoded_picture(from_base64(*image, "image"), "image", most);
  if (const auto mask = file("mask_image")) call.mask_image = decoded_mask(from_base64(*mask, "mask_image"), "mask_image", most);
  if (!call.mask_image.empty() && call.image.empty())
    throw FieldError("mask_image", "mask_image is for a picture, which this request has none of: expected image");
  call.strength = f.number("strength", 0, 1);
  if (call.strength && call.image.empty()) throw FieldError("strength", "strength is for a picture to begin with, which this request has none of");
}

Drawing read_drawing(Fields& f, Service& service) {
  const DrawingLimits& limits = service.limits;
  Drawing drawing{.model = read_model(f, service)};
  const auto prompt = f.text("prompt", limits.prompt_bytes);
  if (!prompt) throw FieldError("prompt", "prompt is missing: expected a text");
  drawing.prompt = *prompt;
  if (const auto negative = f.text("negative_prompt", limits.prompt_bytes)) drawing.call.negative_prompt = Prompts(*negative);
  if (const auto steps = f.integer("num_inference_steps", 1, limits.steps)) drawing.call.num_inference_steps = static_cast<int>(*steps);
  drawing.call.guidance_scale = f.number("guidance_scale", 0, 100);
  drawing.call.true_cfg_scale = f.number("true_cfg_scale", 0, 100);
  drawing.scheduler = f.text("scheduler", 100).value_or("");
  drawing.loras = read_loras(f, service.loras);
  // JavaScript's numbers are whole up to 2^53.
  drawing.seeds = seeds_from(f.integer("seed", 0, int64_t{1} << 53), f.integer("n", 1, limits.pictures).value_or(1));
  return drawing;
}

std::shared_ptr<Job> submit(Exchange& x, Drawing drawing, const std::string& task) {
  // The model's own is known when it is loaded.
  if (!drawing.scheduler.empty()) check_choice({drawing.scheduler, drawing.scheduler_config});
  CallOptions& call = drawing.call;
  // As far as the request says it.
  const Image* picture = call.image.images.empty() ? nullptr : &call.image.images.front();
  x.service.engine.check_size(call.height ? call.height : picture ? picture->height() : 1, call.width ? call.width : picture ? picture->width() : 1);
  if (const auto model = x.service.models.loaded(drawing.model, task_of(call))) {
    call = model->fitted(std::move(call));
    const LoadedModel::Settings settings = model->settings(drawing.prompt, call);
    x.service.engine.check_size(settings.height, settings.width);
    check_format(drawing.format, settings.height, settings.width);
  }
  auto job = std::make_shared<Job>(random_id(), x.client, std::move(drawing), x.urgency);
  x.service.jobs.add(job, task);
  try {
    x.service.engine.submit(job);
  } catch (...) {
    x.service.jobs.forget(*job);
    throw;
  }
  return job;
}

void answer_at_end(Exchange& x, const std::shared_ptr<Job>& job, std::function<nlohmann::json(const Job&, const JobStatus&)> made, bool kept) {
  job->listen([&service = x.service, reply = x.reply, path = x.request.path, made = std::move(made), kept](const Job& j, JobEvent event) {
    if (event != JobEvent::ended) return;
    const JobStatus status = j.status();
    const bool done = status.state == JobState::done;
    try {
      reply->send(done ? Response{.body = json_text(made(j, status))} : failure_response(path, status.failure));
    } catch (...) {  // large pictures are larger still as a text
      reply->send(failure_response(path, failure_of_exception()));
    }
    if (!done || !kept) service.jobs.forget(j);
  });
}

void cancel_when_gone(Exchange& x, const std::shared_ptr<Job>& job) {
  x.reply->on_gone([&service = x.service, job] {
    service.engine.cancel(*job, {499, "the client has gone", ""});
    service.jobs.forget(*job);
  });
}

}  // namespace vivace::server
