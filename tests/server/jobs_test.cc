// Jobs, the page, and the description of it all.
#include <algorithm>

#include "base/joined.h"
#include "drawn.h"

namespace vivace::server {
namespace {

TEST(ServerJobs, FromTheBeginningToTheImage) {
  const Answer made = post("/jobs", {{"prompt", "a red apple"}, {"num_inference_steps", 20}, {"seed", 7}, {"width", 24}});
  ASSERT_EQ(made.status, 202) << made.body;
  const std::string path = "/jobs/" + made.json()["id"].get<std::string>();
  EXPECT_TRUE(made.has_header("Location: " + path));
  const std::vector<Event> events = events_of(ask(server().port(), "GET", path + "/events").body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.front().name, "status");
  EXPECT_EQ(events.back().name, "done");
  EXPECT_TRUE(std::ranges::any_of(events, [](const Event& e) { return e.name == "preview"; }));
  const auto last_step = std::ranges::find(events, "step", &Event::name);
  ASSERT_NE(last_step, events.end());
  EXPECT_EQ(last_step->data["steps"], 20);
  const auto status = ask(server().port(), "GET", path).json();
  EXPECT_EQ(status["status"], "done");
  EXPECT_EQ(status["progress"], 1.0);
  EXPECT_EQ(status["step"], 20);
  const Answer file = ask(server().port(), "GET", status["images"][0]["url"]);
  EXPECT_EQ(image_of(file.body).pixels(), image_of(generated({"--seed", "7", "--num-inference-steps", "20", "--width", "24"})).pixels());
  EXPECT_EQ(ask(server().port(), "GET", path + "/images/1").status, 404);
  EXPECT_EQ(ask(server().port(), "GET", path + "/images/x").status, 404);
  // Gone once it is deleted.
  EXPECT_EQ(ask(server().port(), "DELETE", path).status, 200);
  EXPECT_EQ(ask(server().port(), "GET", path).status, 404);
}

TEST(ServerJobs, DeleteStops) {
  const std::string path = "/jobs/" + post("/jobs", {{"prompt", "x"}, {"num_inference_steps", 1000}}).json()["id"].get<std::string>();
  const std::string waiting = "/jobs/" + post("/jobs", {{"prompt", "x"}, {"num_inference_steps", 1000}}).json()["id"].get<std::string>();
  ASSERT_TRUE(eventually([&] { return ask(server().port(), "GET", path).json()["step"] > 0; }));
  EXPECT_EQ(ask(server().port(), "DELETE", waiting).json()["status"], "cancelled");
  ask(server().port(), "DELETE", path);
  ASSERT_TRUE(eventually([&] { return ask(server().port(), "GET", path).json()["status"] == "cancelled"; }));
  EXPECT_LT(ask(server().port(), "GET", path).json()["step"], 1000);
}

TEST(ServerJobs, ResultsAreKeptForAWhile) {
  const Running running([](ServerOptions& o) { o.result_seconds = 0.3; });
  const std::string path =
      "/jobs/" + ask(running.port(), "POST", "/jobs", {{"prompt", "x"}, {"num_inference_steps", 1}}).json()["id"].get<std::string>();
  EXPECT_TRUE(eventually([&] { return ask(running.port(), "GET", path).status == 404; }));
}

TEST(ServerPage, IsPartOfTheProgram) {
  const Answer page = ask(server().port(), "GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_TRUE(page.has_header("Content-Type: text/html; charset=utf-8"));
  EXPECT_NE(page.head.find("default-src 'self'"), std::string::npos);
  // It asks for nothing from elsewhere.
  for (const char* path : {"/", "/page.css", "/page.js"}) {
    const Answer file = ask(server().port(), "GET", path);
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_EQ(file.body.find("http://"), std::string::npos) << path;
    EXPECT_EQ(file.body.find("https://"), std::string::npos) << path;
  }
}

TEST(ServerOpenApi, DescribesEveryRoute) {
  auto document = ask(server().port(), "GET", "/openapi.json").json();
  std::vector<std::string> described, there;
  for (const auto& [path, methods] : document["paths"].items())
    for (const auto& [method, operation] : methods.items()) {
      std::string upper = method;
      for (char& c : upper) c = static_cast<char>(std::toupper(c));
      described.push_back(upper + ' ' + path);
    }
  for (const auto routes : {openai_routes(), a1111_routes(), job_routes(), operation_routes()})
    for (const Route& route : routes) {
      there.push_back(std::string(route.method) + ' ' + std::string(route.pattern));
      std::string method(route.method);
      for (char& c : method) c = static_cast<char>(std::tolower(c));
      // What needs no key says so.
      EXPECT_EQ(document["paths"][std::string(route.pattern)][method].contains("security"), !route.needs_key) << there.back();
    }
  std::ranges::sort(described);
  std::ranges::sort(there);
  EXPECT_EQ(joined(described, "\n"), joined(there, "\n"));
}

}  // namespace
}  // namespace vivace::server
