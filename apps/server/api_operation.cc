// For those who run the server.
#include "service.h"

namespace vivace::server {
namespace {

void health(Exchange& x) { send_json(x, {{"status", "ok"}}); }

// Whether new work is taken: a balancer sends none where not.
void ready(Exchange& x) {
  const bool yes = !x.service.draining;
  send_json(x, {{"status", yes ? "ready" : "shutting down"}}, yes ? 200 : 503);
}

void metrics(Exchange& x) {
  const Service& s = x.service;
  x.reply->send({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                 .body = s.metrics.text({.waiting = s.engine.waiting(),
                                         .running = s.engine.running() ? size_t{1} : 0,
                                         .jobs_kept = s.jobs.size(),
                                         .model_bytes = s.models.bytes(),
                                         .result_bytes = s.jobs.result_bytes()})});
}

constexpr Route kRoutes[] = {
    {"GET", "/health", health, 0, false},
    {"GET", "/ready", ready, 0, false},
    {"GET", "/metrics", metrics},
};

}  // namespace

std::span<const Route> operation_routes() { return kRoutes; }

}  // namespace vivace::server
