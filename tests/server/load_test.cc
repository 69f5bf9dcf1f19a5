// Many clients at once, most of whom do what no client should.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "base/json.h"
#include "base/log.h"
#include "drawn.h"

namespace vivace::server {
namespace {

using namespace std::chrono_literals;

std::string post_text(const nlohmann::json& body) { return request_text("POST", "/v1/images/generations", json_text(body)); }

// One of them; false where the server did not do its part.
bool misbehave(int port, int kind) {
  Client client(port);
  switch (kind) {
    case 0:
      return client.send("\x01garbage\r\n\r\n") && client.read().status == 400;
    case 1:  // half a body, and gone
      return client.send("POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"pro");
    case 2:  // gone while it waits, or is drawn
      return client.send(post_text({{"prompt", "x"}, {"num_inference_steps", 1000}}));
    case 3:
      return client.send(post_text({{"prompt", 7}})) && client.read().status == 400;
    case 4:
      return client.send("GET /health HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n") && client.read().status == 431;
    case 5:  // gone in the middle of a stream
      return client.send(post_text({{"prompt", "x"}, {"num_inference_steps", 1000}, {"stream", true}, {"partial_images", 3}})) &&
             client.read_until("image_generation.partial_image");
    default:
      return client.send(
                 "POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                 "Content-Length: 8\r\n\r\n--x\r\n\r\n\r") &&
             client.read().status == 400;
  }
}
constexpr int kKinds = 7;

// A few bytes at a time.
Answer ask_slowly(int port, const std::string& text) {
  Client client(port);
  const size_t part = text.size() / 5 + 1;
  for (size_t at = 0; at < text.size(); at += part) {
    client.send(text.substr(at, part));
    std::this_thread::sleep_for(5ms);
  }
  return client.read();
}

// What so many of a hundred do not exceed.
double percentile(std::vector<double> values, double percent) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[static_cast<size_t>(percent / 100 * static_cast<double>(values.size() - 1))];
}

// A few hundred here; VIVACE_LOAD_REQUESTS=10000 for more (docs/serve.md).
TEST(ServerLoad, NothingIsLostOrMixedUp) {
  const Running running;
  const int port = running.port();
  const char* wanted = std::getenv("VIVACE_LOAD_REQUESTS");
  const int requests = wanted ? std::atoi(wanted) : 240, clients = 6;
  const auto body = [](int seed) { return nlohmann::json{{"prompt", "x"}, {"num_inference_steps", 1}, {"seed", seed}}; };
  std::vector<std::string> right;
  for (int seed = 0; seed < 4; ++seed)
    right.push_back(ask(port, "POST", "/v1/images/generations", body(seed)).json()["data"][0]["b64_json"].get<std::string>());
  std::atomic<int> done = 0, wrong = 0;
  double early = 0;
  std::vector<std::vector<double>> seconds(clients);
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; ++c)
    threads.emplace_back([&, c] {
      for (int i = 0; i < requests / clients; ++i, ++done) {
        const int seed = (i * 7 + c) % 4, kind = i / 2;
        if (i % 2 == 0) {
          if (!misbehave(port, (kind + c) % kKinds)) ++wrong;
          continue;
        }
        const auto begin = Clock::now();
        const Answer answer = kind % 8 == 0 ? ask_slowly(port, post_text(body(seed))) : ask(port, "POST", "/v1/images/generations", body(seed));
        if (answer.status != 200 || answer.json()["data"][0]["b64_json"] != right[static_cast<size_t>(seed)]) ++wrong;
        seconds[static_cast<size_t>(c)].push_back(std::chrono::duration<double>(Clock::now() - begin).count());
        if (c == 0 && early == 0 && i > requests / clients / 4) early = metric(port, "vivace_resident_bytes");
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, requests / clients * clients);
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(eventually([&] { return metric(port, "vivace_kept_jobs") == 0; }));
  EXPECT_EQ(metric(port, "vivace_queue_jobs"), 0);
  const double late = metric(port, "vivace_resident_bytes");
  // An allocator keeps some of what it was given; those of the sanitizers far more, and what leaks they find themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(late, early * 1.02 + 4e6);
#endif
  std::vector<double> all;
  for (const auto& of_client : seconds) all.insert(all.end(), of_client.begin(), of_client.end());
  std::printf(
      "%zu pictures among %d requests: from request to answer %.1f ms (p50) and %.1f ms (p99), of which a job is drawn for %.1f ms; %.1f MB, then "
      "%.1f MB\n",
      all.size(), done.load(), 1e3 * percentile(all, 50), 1e3 * percentile(all, 99),
      1e3 * metric(port, "vivace_job_seconds_sum") / metric(port, "vivace_job_seconds_count"), early / 1e6, late / 1e6);
}

TEST(ServerLoad, WhoDoesNotReadHoldsNobodyUp) {
  const Running running([](ServerOptions& o) {
    o.http.write = 300ms;
    o.engine.preview_seconds = 0;
  });
  const int port = running.port();
  const std::string path =
      "/jobs/" +
      ask(port, "POST", "/jobs", {{"prompt", "x"}, {"num_inference_steps", 1}, {"width", 512}, {"height", 512}}).json()["id"].get<std::string>();
  ASSERT_TRUE(eventually([&] { return ask(port, "GET", path).json()["status"] == "done"; }));
  const std::string image = ask(port, "GET", path + "/images/0").body;
  // More than the system's buffers hold.
  Client reads_nothing(port);
  std::string many;
  for (size_t bytes = 0; bytes < (64 << 20); bytes += image.size()) many += request_text("GET", path + "/images/0");
  reads_nothing.send(many);
  Client events(port);
  events.send(request_text("POST", "/v1/images/generations", R"({"prompt": "x", "num_inference_steps": 100, "stream": true, "partial_images": 3})"));
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(ask(port, "POST", "/v1/images/generations", {{"prompt", "x"}, {"num_inference_steps", 1}, {"seed", 1}}).status, 200);
  // It is cut off, and that is noted as if it had gone.
  EXPECT_TRUE(eventually([&] { return metric(port, R"(vivace_requests_total{route="/jobs/{id}/images/{index}",status="499"})") == 1; }));
}

TEST(ServerLoad, PreviewsComeOnlySoOften) {
  const Running running([](ServerOptions& o) { o.engine.preview_seconds = 0.1; });
  const auto begin = Clock::now();
  const std::string path =
      "/jobs/" + ask(running.port(), "POST", "/jobs", {{"prompt", "x"}, {"num_inference_steps", 1000}}).json()["id"].get<std::string>();
  const std::vector<Event> events = events_of(ask(running.port(), "GET", path + "/events").body);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const auto previews = std::ranges::count(events, "preview", &Event::name);
  EXPECT_GT(previews, 0);
  EXPECT_LE(static_cast<double>(previews), seconds / 0.1 + 1);
}

}  // namespace
}  // namespace vivace::server
