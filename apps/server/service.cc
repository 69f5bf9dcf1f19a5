#include "service.h"

#include <random>

#include "base/joined.h"
#include "base/log.h"

namespace vivace::server {
namespace {

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

Response failure_response(const std::string& path, const Failure& failure) {
  return {.status = failure.status, .body = json_text(path.starts_with("/sdapi/") ? a1111_error(failure) : openai_error(failure))};
}

void send_json(Exchange& exchange, const nlohmann::json& value, int status) { exchange.reply->send({.status = status, .body = json_text(value)}); }

std::string read_model(Fields& fields, Service& service) {
  const std::string name = fields.text("model", 1000).value_or("");
  if (name.empty()) return service.models.chosen();
  if (!service.models.find(name))
    throw FieldError("model", cat("there is no model \"", name, "\": expected one of ", joined(service.models.entries(), ", ", &ModelEntry::name)),
                     404);
  return name;
}

std::vector<uint64_t> seeds_from(std::optional<int64_t> first, int64_t count) {
  const uint64_t begin = first ? static_cast<uint64_t>(*first) : std::random_device()();
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < count; ++i) seeds.push_back(begin + static_cast<uint64_t>(i));
  return seeds;
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
  // JavaScript's numbers are whole up to 2^53.
  drawing.seeds = seeds_from(f.integer("seed", 0, int64_t{1} << 53), f.integer("n", 1, limits.pictures).value_or(1));
  return drawing;
}

std::shared_ptr<Job> submit(Exchange& x, Drawing drawing, const std::string& task) {
  if (!drawing.scheduler.empty() || drawing.scheduler_config != "{}") {
    const std::string name = drawing.scheduler.empty() ? "euler" : drawing.scheduler;
    try {
      make_scheduler(name, "{}", drawing.scheduler_config);
    } catch (const UserError& error) {
      throw FieldError("scheduler", error.what());
    }
  }
  CallOptions& call = drawing.call;
  int64_t height = call.height, width = call.width;
  if (const auto model = x.service.models.loaded(drawing.model)) {
    const LoadedModel::Settings settings = model->settings(drawing.prompt, call);
    height = settings.height;
    width = settings.width;
  }
  if (height * width > x.service.limits.pixels)
    throw FieldError("size", cat("the picture would have ", width, " x ", height, " pixels: expected at most ", x.service.limits.pixels));
  auto job = std::make_shared<Job>(random_id(), x.client, std::move(drawing));
  x.service.jobs.add(job, task);
  try {
    x.service.engine.submit(job);
  } catch (...) {
    x.service.jobs.forget(*job);
    throw;
  }
  return job;
}

void cancel_when_gone(Exchange& x, const std::shared_ptr<Job>& job) {
  x.reply->on_gone([&service = x.service, job] {
    service.engine.cancel(*job, {499, "the client has gone", ""});
    service.jobs.forget(*job);
  });
}

}  // namespace vivace::server
