// What the interfaces to clients (api_*.cc) are built on: one request, the server behind it, and a table of routes each.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine.h"
#include "fields.h"
#include "http/message.h"
#include "job_store.h"
#include "loras.h"
#include "metrics.h"
#include "models.h"
#include "redis_jobs.h"

namespace vivace::server {

// What one request may ask for.
struct DrawingLimits {
  int64_t steps = 1000, pictures = 10;
  size_t prompt_bytes = 32 << 10;
  int64_t picture_pixels = int64_t{4096} * 4096;  // of a picture that it brings
};

struct Service {
  Models& models;
  Engine& engine;
  JobStore& jobs;
  Metrics& metrics;
  Loras& loras;
  const DrawingLimits limits;
  RedisJobs* shared = nullptr;  // with other servers
  const std::string report;     // a file of HTML, or empty
  bool behind_proxy = false;    // X-Forwarded-For and X-Forwarded-Proto are the proxy's
  bool draining = false;
};

struct Exchange {
  Service& service;
  const Request& request;
  std::shared_ptr<Reply> reply;
  std::vector<std::string> parts;  // of the path, for the pattern's {...}
  std::string client;              // who asks: an address
  int urgency = Job::kUrgency;
};

// What a request's body may have, with pictures and without.
inline constexpr size_t kTextBody = size_t{1} << 20, kPictureBody = size_t{64} << 20;

struct Route {
  std::string_view method, pattern;  // "GET", "/jobs/{id}"
  // On the thread of the connections; where the body may have pictures, on one of their own, a request at a time.
  void (*handle)(Exchange& exchange);
  size_t body_bytes = 0;
  bool needs_key = true;
};
std::span<const Route> openai_routes();
std::span<const Route> a1111_routes();
std::span<const Route> job_routes();
std::span<const Route> operation_routes();

// A failure in the form of the interface that the path belongs to. It says when to come back where that is known, and where the server takes nothing
// now.
Response failure_response(const std::string& path, const Failure& failure, int retry_after = 0);
void send_json(Exchange& exchange, const nlohmann::json& value, int status = 200);

// png, unless output_format says another.
Format read_format(Fields& fields);
// The model that a request names, or the one that is chosen. Throws FieldError.
std::string read_model(Fields& fields, Service& service);
// The fields that Diffusers has, under its names: prompt, negative_prompt, num_inference_steps, guidance_scale, true_cfg_scale, seed, scheduler, n,
// and loras: names, or objects with a name and a weight.
Drawing read_drawing(Fields& fields, Service& service);
// The height and width, the picture and the mask (base64), and the strength.
void read_picture(Fields& fields, Service& service, CallOptions& call);
// `first`, `first` + 1, ...; a random one where there is none.
std::vector<uint64_t> seeds_from(std::optional<int64_t> first, int64_t count);

// Into the queue. Throws FieldError for what cannot be drawn, as far as that is known, and Refusal.
std::shared_ptr<Job> submit(Exchange& exchange, Drawing drawing, const std::string& task = "");
// Answers at the job's end with what `made` makes of it, or with why it was not drawn. Then it is forgotten, unless what is done is `kept`.
void answer_at_end(Exchange& exchange, const std::shared_ptr<Job>& job, std::function<nlohmann::json(const Job&, const JobStatus&)> made,
                   bool kept = false);
// Where there are other servers, they may answer for the job too, and, by the request of POST /jobs, make it again. Then calls back, on any thread.
void share_job(Service& service, const std::shared_ptr<Job>& job, const std::string& request, std::function<void()> then);
// A job whose server is gone. Throws nothing.
void take_up_job(Service& service, const RedisJobs::Order& order);
// The client's going ends the job.
void cancel_when_gone(Exchange& exchange, const std::shared_ptr<Job>& job);

}  // namespace vivace::server
