#include "server.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "admission.h"
#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"

namespace vivace::server {
namespace {

constexpr std::chrono::milliseconds kTick{100};
// What answers have, of the time that what is drawn has to end: who reads slowly does not keep the process.
constexpr double kAnswersShare = 0.5;
// Of requests that may bring pictures and wait to be read.
constexpr size_t kUnreadBytes = 4 * kPictureBody;

std::vector<Route> all_routes() {
  std::vector<Route> all;
  for (const auto routes : {openai_routes(), a1111_routes(), job_routes(), operation_routes()}) all.insert(all.end(), routes.begin(), routes.end());
  return all;
}

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  for (size_t begin = 1; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// What stands in the pattern's braces, where the path is of it.
std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view path) {
  const auto wanted = parts_of(pattern), given = parts_of(path);
  if (wanted.size() != given.size()) return std::nullopt;
  std::vector<std::string> inside;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].starts_with('{') && !given[i].empty())
      inside.emplace_back(given[i]);
    else if (wanted[i] != given[i])
      return std::nullopt;
  }
  return inside;
}

struct Found {
  const Route* route = nullptr;
  std::vector<std::string> parts;
  std::vector<std::string_view> methods;  // that the path takes, where it is not this one
};

Found find_route(const std::vector<Route>& routes, const Request& request) {
  Found found;
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const Route& route : routes) {
    auto parts = match(route.pattern, request.path);
    if (!parts) continue;
    found.methods.push_back(route.method);
    if (route.method == method) return {&route, std::move(*parts), {}};
  }
  return found;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

Server::Server(ServerOptions options, std::vector<ModelEntry> models, Models::Load load)
    : options_(std::move(options)),
      routes_(all_routes()),
      models_(std::move(models), std::move(load), options_.model_bytes, options_.preview_decoder),
      loras_(options_.lora_folder),
      jobs_(options_.result_seconds, options_.result_bytes),
      http_(options_.socket ? std::make_unique<HttpServer>(*options_.socket, options_.http, handler())
                            : std::make_unique<HttpServer>(options_.host, options_.port, options_.http, handler())),
      shared_(options_.job_store.empty()
                  ? nullptr
                  : std::make_unique<RedisJobs>(redis_address(options_.job_store), options_.result_seconds, shared_callbacks())),
      engine_(models_, metrics_, options_.engine),
      service_{.models = models_,
               .engine = engine_,
               .jobs = jobs_,
               .metrics = metrics_,
               .loras = loras_,
               .limits = options_.drawing,
               .shared = shared_.get(),
               .report = options_.report,
               .behind_proxy = options_.behind_proxy},
      reader_(kUnreadBytes) {
  models_.load(models_.chosen());
  http_->every(kTick, [this] { tick(); });
}

Server::~Server() = default;

// All of it on the thread of the connections, which is there only once this object is whole.
RedisJobs::Callbacks Server::shared_callbacks() {
  return {.cancel = [this](const auto& job) { http_->post([this, job] {
                                                engine_.cancel(*job, {499, "the job was cancelled", ""});
                                              }); },
          .lost =
              [this](const auto& job) {
                http_->post([this, job] {
                  engine_.cancel(*job, {503, "another server has this job now: ask again", ""});
                  jobs_.forget(*job);
                });
              },
          .take_up =
              [this](const auto& order) {
                http_->post([this, order] {
                  reader_.push(
                      order.request.size(), [this, order] { take_up_job(service_, order); }, true);
                });
              }};
}

Handler Server::handler() {
  return {.admit = [this](const Request& head, size_t& limit) { return admit(head, limit); },
          .handle = [this](Request request, const std::shared_ptr<Reply>& reply) { handle(std::move(request), reply); },
          .refuse = [this](const Request& head, int status, const std::string& what) { return refuse(head, status, what); },
          .done = [this](const Request& head, int status, double seconds) { done(head, status, seconds); }};
}

std::string Server::address() const {
  const std::string& host = http_->address();
  return cat("http://", host.find(':') == std::string::npos ? host : "[" + host + "]", ':', port());
}

int Server::port() const { return http_->port(); }
bool Server::on_loopback() const { return is_loopback(http_->address()); }
void Server::run() { http_->run(); }

void Server::shutdown() {
  http_->post([this] {
    if (service_.draining) return;
    service_.draining = true;
    shutdown_at_ = Clock::now();
    if (shared_) shared_->hand_over();
    engine_.close();
  });
}

void Server::tick() {
  jobs_.expire();
  engine_.check_time();
  if (shared_) shared_->take_up(!service_.draining && engine_.waiting() < options_.engine.queue);
  if (!service_.draining) return;
  const auto passed = [](Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const auto jobs = engine_.running();
  if (jobs.empty()) {
    if (drawn_at_ == Clock::time_point{}) drawn_at_ = Clock::now();
    return passed(drawn_at_) <= kAnswersShare * options_.shutdown_seconds ? http_->drain() : http_->stop();
  }
  if (passed(shutdown_at_) <= options_.shutdown_seconds) return;
  for (const auto& job : jobs) job->cancel({503, "the server is shutting down: try again", ""});
}

std::string Server::client_of(const Request& request) const {
  if (!options_.behind_proxy) return request.address;
  // What the proxy itself saw is the last address of the last line: some add a line to those that a client sent.
  const auto is_line = [](const auto& field) { return field.first == "x-forwarded-for"; };
  const auto line = std::find_if(request.headers.rbegin(), request.headers.rend(), is_line);
  if (line == request.headers.rend()) return request.address;
  const size_t last = line->second.find_last_of(", ");
  return last == std::string::npos ? line->second : line->second.substr(last + 1);
}

Headers Server::cors_headers(const Request& request) const {
  const std::string* origin = request.header("origin");
  if (!origin || options_.cors_origins.empty()) return {};
  const bool any = std::ranges::count(options_.cors_origins, "*") > 0;
  if (!any && std::ranges::count(options_.cors_origins, *origin) == 0) return {};
  // Whatever it wants to send: OpenAI's client has a dozen of its own.
  const std::string* wanted = request.header("access-control-request-headers");
  return {{"Access-Control-Allow-Origin", any ? "*" : *origin},
          {"Access-Control-Allow-Methods", "GET, POST, DELETE"},
          {"Access-Control-Allow-Headers", wanted ? *wanted : "authorization, content-type"},
          {"Access-Control-Expose-Headers", "Location, Retry-After"},
          {"Vary", "Origin, Access-Control-Request-Headers"}};
}

std::optional<Response> Server::admit(const Request& head, size_t& body_limit) {
  const auto refused = [&](int status, const std::string& what) { return refuse(head, status, what); };
  const bool local = options_.api_key.empty() && on_loopback();
  if (const std::string wrong = wrong_origin(head, options_.cors_origins, local); !wrong.empty()) return refused(403, wrong);
  if (head.method == "OPTIONS") return Response{.status = 204, .headers = cors_headers(head)};
  const Found found = find_route(routes_, head);
  if (!found.route && found.methods.empty()) return refused(404, cat("there is nothing at ", head.path));
  if (!found.route) {
    Response response = refused(405, cat(head.path, " does not take ", head.method, ": expected ", joined(found.methods)));
    response.headers.emplace_back("Allow", joined(found.methods));
    return response;
  }
  const auto knows = [&](const std::string& key) { return !key.empty() && has_key(head, key); };
  if (found.route->needs_key && !options_.api_key.empty() && !knows(options_.api_key) && !knows(options_.priority_key)) {
    Response response = refused(401, "a key is needed: Authorization: Bearer KEY");
    response.headers.emplace_back("WWW-Authenticate", "Bearer, Basic realm=\"vivace\"");
    return response;
  }
  body_limit = found.route->body_bytes;
  return std::nullopt;
}

// A picture of a few kilobytes may take a second to be read, in which other clients are not to wait.
void Server::handle(Request request, const std::shared_ptr<Reply>& reply) {
  if (find_route(routes_, request).route->body_bytes < kPictureBody) return answer(request, reply);
  const auto shared = std::make_shared<const Request>(std::move(request));
  if (!reader_.push(shared->body.size(), [this, shared, reply] { answer(*shared, reply); }))
    reply->send(refuse(*shared, 503, "too many pictures wait to be read: try again"));
}

void Server::answer(const Request& request, const std::shared_ptr<Reply>& reply) {
  // Adds what all answers to this request carry, whoever answers it.
  class WithHeaders : public Reply {
   public:
    WithHeaders(std::shared_ptr<Reply> inner, Headers headers) : inner_(std::move(inner)), headers_(std::move(headers)) {}
    void send(Response response) override {
      response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
      inner_->send(std::move(response));
    }
    void begin_events(bool now, Headers headers) override {
      headers.insert(headers.end(), headers_.begin(), headers_.end());
      inner_->begin_events(now, std::move(headers));
    }
    void event(const std::string& name, const std::string& data, bool may_be_dropped) override { inner_->event(name, data, may_be_dropped); }
    void end_events() override { inner_->end_events(); }
    void on_gone(std::function<void()> gone) override { inner_->on_gone(std::move(gone)); }

   private:
    const std::shared_ptr<Reply> inner_;
    const Headers headers_;
  };
  const Found found = find_route(routes_, request);
  const auto answer = std::make_shared<WithHeaders>(reply, cors_headers(request));
  Exchange exchange{service_, request, answer, found.parts, client_of(request), urgency_of(request, options_.priority_key)};
  try {
    found.route->handle(exchange);
  } catch (const Refusal& refusal) {
    answer->send(failure_response(request.path, refusal.failure, refusal.retry_after));
  } catch (...) {
    answer->send(failure_response(request.path, failure_of_exception()));
  }
}

Response Server::refuse(const Request& head, int status, const std::string& what) const {
  Response response = failure_response(head.path, {status, what, ""});
  const Headers cors = cors_headers(head);
  response.headers.insert(response.headers.end(), cors.begin(), cors.end());
  return response;
}

void Server::done(const Request& head, int status, double seconds) {
  const Found found = find_route(routes_, head);
  metrics_.request(found.route ? std::string(found.route->pattern) : "none", status, seconds);
  if (!options_.log) return;
  options_.log(json_text(
      {{"time", utc_now()}, {"client", client_of(head)}, {"method", head.method}, {"path", head.path}, {"status", status}, {"seconds", seconds}}));
}

}  // namespace vivace::server
