// What OpenAI's images API answers with.
#include <chrono>

#include "base/json.h"
#include "base/log.h"
#include "encode.h"
#include "openai.h"

namespace vivace::server {
namespace {

int64_t unix_now() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string size_text(const Picture& picture) { return cat(picture.width, 'x', picture.height); }

// Tokens: those of the prompt, and one for each 16 x 16 pixels.
nlohmann::json usage(Service& service, const Job& job, const std::vector<std::shared_ptr<const Picture>>& pictures) {
  const auto model = service.models.loaded(job.drawing.model);
  const int64_t text = model ? model->tokens(job.drawing.prompt) : 0;
  const int64_t image = job.pixels_given / 256;
  int64_t out = 0;
  for (const auto& picture : pictures) out += int64_t{picture->width} * picture->height / 256;
  return {{"input_tokens", text + image},
          {"output_tokens", out},
          {"total_tokens", text + image + out},
          {"input_tokens_details", {{"text_tokens", text}, {"image_tokens", image}}}};
}

// "https://host" as the client calls this server.
std::string own_address(const Exchange& x) {
  const std::string* host = x.request.header("host");
  const std::string* scheme = x.service.behind_proxy ? x.request.header("x-forwarded-proto") : nullptr;
  return cat(scheme && *scheme == "https" ? "https" : "http", "://", host ? *host : "localhost");
}

nlohmann::json whole_answer(Service& service, const Job& job, const JobStatus& status, const OpenAiSettings& settings, const std::string& address) {
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
          {"usage", usage(service, job, status.pictures)}};
}

}  // namespace

void answer_whole(Exchange& x, const std::shared_ptr<Job>& job, const OpenAiSettings& settings) {
  const bool by_address = settings.response_format == "url";
  const auto made = [&service = x.service, settings, address = own_address(x)](const Job& j, const JobStatus& status) {
    return whole_answer(service, j, status, settings, address);
  };
  answer_at_end(x, job, made, by_address);
  if (by_address) share_job(x.service, job, "", [] {});
}

void answer_events(Exchange& x, const std::shared_ptr<Job>& job, const OpenAiSettings& settings) {
  x.reply->begin_events(false);
  // The job may have been drawn before anybody listened: what is done is told with whatever is heard next.
  auto answer = [&service = x.service, reply = x.reply, settings, told = size_t{0}](const Job& j, JobEvent event) mutable {
    const JobStatus status = j.status();
    const auto send = [&](const char* what, nlohmann::json data, bool may_be_dropped) {
      const std::string type = cat(j.task == Task::text_to_image ? "image_generation." : "image_edit.", what);
      data["type"] = type;
      data["created_at"] = unix_now();
      data["quality"] = settings.quality;
      data["background"] = "opaque";
      reply->event(type, json_text(data), may_be_dropped);
    };
    for (; told < status.pictures.size(); ++told) {
      const Picture& picture = *status.pictures[told];
      send("completed",
           {{"b64_json", base64(picture.bytes)},
            {"size", size_text(picture)},
            {"output_format", format_name(picture.format)},
            {"seed", picture.seed},
            {"usage", usage(service, j, {status.pictures[told]})}},
           false);
    }
    if (event == JobEvent::preview && status.preview)
      send("partial_image",
           {{"b64_json", base64(status.preview->bytes)},
            {"partial_image_index", status.previews - 1},
            {"size", size_text(*status.preview)},
            {"output_format", "png"}},
           true);
    if (event != JobEvent::ended) return;
    if (status.state != JobState::done) {
      const Response failure = failure_response("/v1", status.failure);
      reply->send(failure);  // where no event has been sent yet
      nlohmann::json data = strict_json(failure.body);
      data["type"] = "error";
      reply->event("error", json_text(data), false);
    }
    reply->end_events();
    service.jobs.forget(j);
  };
  job->listen(std::move(answer));
}

}  // namespace vivace::server
