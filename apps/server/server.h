// The server: models, the engine's thread, and the interfaces to clients, behind HTTP.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine.h"
#include "http/http_server.h"
#include "models.h"
#include "service.h"
#include "worker.h"

namespace vivace::server {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 7860;
  std::optional<int> socket;                               // that listens already, instead of host and port
  std::string api_key;                                     // empty: none is asked for
  std::string priority_key;                                // one whose holders may say how urgent a request is; empty: nobody
  std::vector<std::string> cors_origins;                   // pages of other addresses that may call: "https://example.org", or "*"
  bool behind_proxy = false;                               // X-Forwarded-For and X-Forwarded-Proto are believed
  std::string lora_folder;                                 // with adapters that requests may name; empty: none
  std::string job_store;                                   // redis://host:port, which other servers share; empty: none
  std::string report;                                      // a file of HTML that the page links to; empty: none
  std::shared_ptr<const AutoencoderTiny> preview_decoder;  // of the models whose latents it takes; nullptr: none
  size_t model_bytes = size_t{1} << 62;                    // that loaded models may take; the one in use stays
  double result_seconds = 3600;                            // that results are kept for
  size_t result_bytes = size_t{256} << 20;
  double shutdown_seconds = 30;  // that what is drawn has to end, once shutdown() was called; its answers have half as long again
  EngineLimits engine;
  DrawingLimits drawing;
  HttpLimits http;
  std::function<void(const std::string& line)> log;  // a JSON object a request
};

class Server {
 public:
  // Loads the first model and listens. Throws UserError.
  Server(ServerOptions options, std::vector<ModelEntry> models, Models::Load load);
  ~Server();
  Server(const Server&) = delete;

  std::string address() const;  // "http://127.0.0.1:7860"
  int port() const;
  bool on_loopback() const;
  // Serves on the calling thread until shutdown().
  void run();
  // Of any thread. What waits is handed back (503), what is drawn is finished or, when it takes too long, stopped; then run() returns.
  void shutdown();

 private:
  Handler handler();
  RedisJobs::Callbacks shared_callbacks();
  std::optional<Response> admit(const Request& head, size_t& body_limit);
  void handle(Request request, const std::shared_ptr<Reply>& reply);
  void answer(const Request& request, const std::shared_ptr<Reply>& reply);
  Response refuse(const Request& head, int status, const std::string& what) const;
  void done(const Request& head, int status, double seconds);
  void tick();
  std::string client_of(const Request& request) const;
  Headers cors_headers(const Request& request) const;

  const ServerOptions options_;
  const std::vector<Route> routes_;
  Models models_;
  Metrics metrics_;
  Loras loras_;
  JobStore jobs_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<RedisJobs> shared_;
  Engine engine_;
  Service service_;
  Clock::time_point shutdown_at_{}, drawn_at_{};  // the epoch before; nothing is drawn any more
  Worker reader_;                                 // of requests that may bring pictures; ends before what they are about
};

}  // namespace vivace::server
