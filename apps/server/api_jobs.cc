// Jobs: what takes long is begun with one request and asked for with others.
#include "base/log.h"
#include "base/numbers.h"
#include "encode.h"
#include "service.h"

namespace vivace::server {
namespace {

nlohmann::json picture_json(const Job& job, const Picture& picture, size_t index) {
  return {{"url", cat("/jobs/", job.id, "/images/", index)}, {"seed", picture.seed},          {"width", picture.width}, {"height", picture.height},
          {"output_format", format_name(picture.format)},    {"parameters", picture.settings}};
}

nlohmann::json status_json(const Service& service, const Job& job, const JobStatus& status) {
  nlohmann::json pictures = nlohmann::json::array();
  for (size_t i = 0; i < status.pictures.size(); ++i) pictures.push_back(picture_json(job, *status.pictures[i], i));
  nlohmann::json result{{"id", job.id},
                        {"status", job_state_name(status.state)},
                        {"model", job.drawing.model},
                        {"progress", status.progress},
                        {"step", status.step},
                        {"steps", status.steps},
                        {"seconds_left", status.seconds_left},
                        {"images", std::move(pictures)},
                        {"error", nullptr}};
  if (status.failure.status != 0)
    result["error"] = {{"status", status.failure.status}, {"message", status.failure.message}, {"param", status.failure.field}};
  if (const auto before = service.engine.position(job)) result["jobs_before"] = *before;
  return result;
}

std::shared_ptr<Job> job_of(Exchange& x) {
  auto job = x.service.jobs.find(x.parts.at(0));
  if (!job) throw FieldError("", "there is no such job: it was never there, or its time is over", 404);
  return job;
}

void make_job(Exchange& x) {
  Fields f(x.request.body);
  Drawing drawing = read_drawing(f, x.service);
  read_picture(f, x.service, drawing.call);
  drawing.format = read_format(f);
  f.finish();
  const auto job = submit(x, std::move(drawing));
  x.reply->send({.status = 202, .body = json_text(status_json(x.service, *job, job->status())), .headers = {{"Location", "/jobs/" + job->id}}});
}

void show_job(Exchange& x) {
  const auto job = job_of(x);
  send_json(x, status_json(x.service, *job, job->status()));
}

// The state, which the first event tells, and then what changes.
void job_events(Exchange& x) {
  const auto job = job_of(x);
  x.reply->begin_events(true);
  x.reply->event("status", json_text(status_json(x.service, *job, job->status())), false);
  if (x.request.parameter("previews") != "false") job->watch();
  const auto tell = [&service = x.service, reply = x.reply](const Job& j, JobEvent event) {
    const JobStatus status = j.status();
    switch (event) {
      case JobEvent::started:
        return reply->event("started", "{}", false);
      case JobEvent::step:
        return reply->event("step",
                            json_text({{"step", status.step},
                                       {"steps", status.steps},
                                       {"image", status.pictures.size()},
                                       {"progress", status.progress},
                                       {"seconds_left", status.seconds_left}}),
                            true);
      case JobEvent::preview:
        if (status.preview)
          reply->event("preview", json_text({{"image", status.pictures.size()}, {"b64_json", base64(status.preview->bytes)}}), true);
        return;
      case JobEvent::picture:
        return reply->event("image", json_text(picture_json(j, *status.pictures.back(), status.pictures.size() - 1)), false);
      case JobEvent::ended:
        reply->event(job_state_name(status.state), json_text(status_json(service, j, status)), false);
        return reply->end_events();
    }
  };
  const size_t listener = job->listen(tell);
  x.reply->on_gone([job, listener] { job->unlisten(listener); });
}

void delete_job(Exchange& x) {
  const auto job = job_of(x);
  if (job->ended() != Clock::time_point{}) x.service.jobs.forget(*job);
  x.service.engine.cancel(*job, {499, "the job was cancelled", ""});
  send_json(x, status_json(x.service, *job, job->status()));
}

// Without a key, so that a page can show it: an id is as hard to guess as a key.
void job_image(Exchange& x) {
  const auto job = job_of(x);
  const std::vector<std::shared_ptr<const Picture>> pictures = job->status().pictures;
  size_t index = pictures.size();
  try {
    index = parse_number<uint32_t>(x.parts.at(1), "image");
  } catch (const UsageError&) {
  }
  if (index >= pictures.size()) throw FieldError("", cat("the job has no image ", x.parts[1], " yet"), 404);
  x.reply->send({.content_type = content_type(pictures[index]->format),
                 .body = pictures[index]->bytes,
                 .headers = {{"Cache-Control", "private, max-age=3600, immutable"}}});
}

constexpr Route kRoutes[] = {
    {"POST", "/jobs", make_job, kPictureBody},
    {"GET", "/jobs/{id}", show_job},
    {"DELETE", "/jobs/{id}", delete_job},
    {"GET", "/jobs/{id}/events", job_events},
    {"GET", "/jobs/{id}/images/{index}", job_image, 0, false},
};

}  // namespace

std::span<const Route> job_routes() { return kRoutes; }

}  // namespace vivace::server
