// For those who run the server, and for those who open its address.
#include <algorithm>

#include "base/files.h"
#include "embedded.h"
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
                                         .running = s.engine.running().size(),
                                         .jobs_kept = s.jobs.size(),
                                         .model_bytes = s.models.bytes(),
                                         .result_bytes = s.jobs.result_bytes()})});
}

// Nothing of it comes from elsewhere, and no other page may frame it.
constexpr const char* kPolicy = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

void embedded(Exchange& x) {
  const auto file = std::ranges::find(embedded_files(), x.request.path, &Embedded::path);
  x.reply->send({.content_type = std::string(file->content_type),
                 .body = std::string(file->content),
                 .headers = {{"Content-Security-Policy", kPolicy}, {"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-cache"}}});
}

// What `vivace bench` measured, where the server was given it: one file, which needs no other.
void report(Exchange& x) {
  if (x.service.report.empty()) throw FieldError("", "there is no report: start the server with --report and one of `vivace bench --ladder`", 404);
  x.reply->send({.content_type = "text/html; charset=utf-8",
                 .body = read_file(x.service.report),
                 .headers = {{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"},
                             {"X-Content-Type-Options", "nosniff"},
                             {"Cache-Control", "no-cache"}}});
}

constexpr Route kOperationRoutes[] = {
    {"GET", "/", embedded, 0, false},
    {"GET", "/page.css", embedded, 0, false},
    {"GET", "/texts.js", embedded, 0, false},
    {"GET", "/edit.js", embedded, 0, false},
    {"GET", "/page.js", embedded, 0, false},
    {"GET", "/report", report, 0, false},
    {"GET", "/openapi.json", embedded, 0, false},
    {"GET", "/health", health, 0, false},
    {"GET", "/ready", ready, 0, false},
    {"GET", "/metrics", metrics},
};

}  // namespace

std::span<const Route> operation_routes() { return kOperationRoutes; }

}  // namespace vivace::server
