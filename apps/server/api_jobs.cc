// Jobs: what takes long is begun with one request and asked for with others.
#include <atomic>

#include "base/json.h"
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

nlohmann::json status_json(const Service& service, const Job& job, JobStatus status) {
  if (job.goes_on_elsewhere()) status.state = JobState::queued, status.failure = {};
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

const Failure kNoJob{404, "there is no such job: it was never there, or its time is over", ""};
const Failure kNoImage{404, "the job has no such image yet", ""};
const Failure kUnreachable{503, "the store of jobs cannot be reached: try again", ""};

// This server's job; nullptr for one that another may have.
std::shared_ptr<Job> job_of(Exchange& x) {
  auto job = x.service.jobs.find(x.parts.at(0));
  if (!job && !x.service.shared) throw FieldError("", kNoJob.message, kNoJob.status);
  return job;
}

// Asks the store for another server's job.
void ask_store(Exchange& x, std::function<void(Reply& reply, const nlohmann::json& status)> then) {
  const auto answer = [reply = x.reply, path = x.request.path, then = std::move(then)](const RedisJobs::Found& found) {
    using State = RedisJobs::Found::State;
    if (found.state == State::found) return then(*reply, found.status);
    reply->send(failure_response(path, found.state == State::none ? kNoJob : kUnreachable));
  };
  x.service.shared->find(x.parts.at(0), answer);
}

Drawing read_job(Fields& f, Service& service) {
  Drawing drawing = read_drawing(f, service);
  read_picture(f, service, drawing.call);
  drawing.format = read_format(f);
  f.finish();
  return drawing;
}

// The job is answered for once others know of it.
void make_job(Exchange& x) {
  Fields f(x.request.body);
  Drawing drawing = read_job(f, x.service);
  nlohmann::json request = f.object();
  // What was chosen here is the same wherever it is drawn.
  request["model"] = drawing.model;
  request["seed"] = drawing.seeds.front();
  const auto job = submit(x, std::move(drawing));
  share_job(x.service, job, x.service.shared ? json_text(request) : "", [&service = x.service, reply = x.reply, job] {
    reply->send({.status = 202, .body = json_text(status_json(service, *job, job->status())), .headers = {{"Location", "/jobs/" + job->id}}});
  });
}

void show_job(Exchange& x) {
  const auto job = job_of(x);
  if (!job) return ask_store(x, [](Reply& reply, const nlohmann::json& status) { reply.send({.body = json_text(status)}); });
  send_json(x, status_json(x.service, *job, job->status()));
}

// What can be seen of another server's job: no previews, and not every step.
void events_of_another(Exchange& x) {
  struct Seen {
    nlohmann::json status;
    std::atomic<bool> gone = false;
  };
  const auto seen = std::make_shared<Seen>();
  x.reply->on_gone([seen] { seen->gone = true; });
  x.service.shared->watch(x.parts.at(0), [reply = x.reply, seen, path = x.request.path](const RedisJobs::Found& found) {
    using State = RedisJobs::Found::State;
    if (seen->gone) return false;
    if (found.state == State::unreachable && !seen->status.is_null()) return true;  // it may come back
    if (found.state != State::found) {
      reply->send(failure_response(path, found.state == State::none ? kNoJob : kUnreachable));
      reply->end_events();
      return false;
    }
    const nlohmann::json& now = found.status;
    if (seen->status.is_null()) {
      reply->begin_events(true);
      reply->event("status", json_text(now), false);
    } else {
      if (now["step"] != seen->status["step"])
        reply->event("step",
                     json_text({{"step", now["step"]},
                                {"steps", now["steps"]},
                                {"image", now["images"].size()},
                                {"progress", now["progress"]},
                                {"seconds_left", now["seconds_left"]}}),
                     true);
      for (size_t i = seen->status["images"].size(); i < now["images"].size(); ++i) reply->event("image", json_text(now["images"][i]), false);
    }
    seen->status = now;
    const std::string state = now["status"];
    if (state == job_state_name(JobState::queued) || state == job_state_name(JobState::running)) return true;
    reply->event(state, json_text(now), false);
    reply->end_events();
    return false;
  });
}

// The state, which the first event tells, and then what changes.
void job_events(Exchange& x) {
  const auto job = job_of(x);
  if (!job) return events_of_another(x);
  x.reply->begin_events(true);
  const JobStatus first = job->status();
  x.reply->event("status", json_text(status_json(x.service, *job, first)), false);
  if (x.request.parameter("previews") != "false") job->watch();
  auto tell = [&service = x.service, reply = x.reply, told = first.pictures.size()](const Job& j, JobEvent event) mutable {
    const JobStatus status = j.status();
    // Those too that were drawn since that first event.
    for (; told < status.pictures.size(); ++told) reply->event("image", json_text(picture_json(j, *status.pictures[told], told)), false);
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
        return;
      case JobEvent::ended:
        // Its end is another server's to tell: whoever follows it asks again.
        if (j.goes_on_elsewhere()) return reply->end_events();
        reply->event(job_state_name(status.state), json_text(status_json(service, j, status)), false);
        return reply->end_events();
    }
  };
  const size_t listener = job->listen(std::move(tell));
  x.reply->on_gone([job, listener] { job->unlisten(listener); });
}

void delete_job(Exchange& x) {
  const auto job = job_of(x);
  if (x.service.shared) x.service.shared->remove(x.parts.at(0));
  if (!job) return ask_store(x, [](Reply& reply, const nlohmann::json& status) { reply.send({.body = json_text(status)}); });
  if (job->ended() != Clock::time_point{}) x.service.jobs.forget(*job);
  x.service.engine.cancel(*job, {499, "the job was cancelled", ""});
  send_json(x, status_json(x.service, *job, job->status()));
}

// Without a key, so that a page can show it: an id is as hard to guess as a key.
void job_image(Exchange& x) {
  const auto job = job_of(x);
  std::optional<size_t> index;
  try {
    index = parse_number<uint32_t>(x.parts.at(1), "image");
  } catch (const UsageError&) {
  }
  const auto send = [reply = x.reply, path = x.request.path](const std::shared_ptr<const Picture>& picture) {
    if (!picture) return reply->send(failure_response(path, kNoImage));
    reply->send(
        {.content_type = content_type(picture->format), .body = picture->bytes, .headers = {{"Cache-Control", "private, max-age=3600, immutable"}}});
  };
  if (index && !job) return x.service.shared->picture(x.parts.at(0), *index, send);
  const auto pictures = index ? job->status().pictures : std::vector<std::shared_ptr<const Picture>>();
  send(index && *index < pictures.size() ? pictures[*index] : nullptr);
}

constexpr Route kJobRoutes[] = {
    {"POST", "/jobs", make_job, kPictureBody},
    {"GET", "/jobs/{id}", show_job},
    {"DELETE", "/jobs/{id}", delete_job},
    {"GET", "/jobs/{id}/events", job_events},
    {"GET", "/jobs/{id}/images/{index}", job_image, 0, false},
};

}  // namespace

void share_job(Service& service, const std::shared_ptr<Job>& job, const std::string& request, std::function<void()> then) {
  if (!service.shared) return then();
  const auto status = [&service](const Job& j) { return status_json(service, j, j.status()); };
  service.shared->follow(job, status, request, std::move(then));
}

void take_up_job(Service& service, const RedisJobs::Order& order) {
  try {
    Fields f(order.request);
    const auto job = std::make_shared<Job>(order.id, order.client, read_job(f, service), order.urgency);
    service.engine.submit(job, true);
    service.jobs.add(job);
    share_job(service, job, order.request, [] {});
  } catch (const Refusal&) {  // the server ends: another takes it
  } catch (...) {
    service.shared->fail(order, failure_of_exception());
  }
}

std::span<const Route> job_routes() { return kJobRoutes; }

}  // namespace vivace::server
