// Several servers that share their jobs through a Redis of the test's own.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <future>

#include "../cli/program.h"
#include "base/log.h"
#include "drawn.h"
#include "encode.h"
#include "process.h"

namespace vivace::server {
namespace {

// A port that was free a moment ago.
int free_port() {
  const Running running;
  return running.port();
}

bool is_installed(const std::string& program) { return std::system(cat("command -v ", program, " > /dev/null").c_str()) == 0; }

class ServerRedis : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_installed("redis-server")) GTEST_SKIP() << "there is no redis-server: apt-get install redis-server";
    start_redis();
  }
  // With nothing in it.
  void start_redis() {
    redis_.emplace(std::vector<std::string>{"redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                                            "no", "--logfile", (folder_ / "log").string(), "--dir", folder_.path().string()});
    ASSERT_TRUE(eventually([&] {
      try {
        const RedisJobs jobs(redis_address(url()), 1, {});
        return true;
      } catch (const UserError&) {
        return false;
      }
    }));
  }
  std::string url() const { return cat("redis://127.0.0.1:", port_, "/1"); }
  std::function<void(ServerOptions&)> shared() const {
    return [this](ServerOptions& o) { o.job_store = url(); };
  }

  const int port_ = free_port();
  const TempFolder folder_;
  std::optional<Process> redis_;
};

std::string made(int port, const nlohmann::json& body) {
  const Answer answer = ask(port, "POST", "/jobs", body);
  EXPECT_EQ(answer.status, 202) << answer.body;
  return "/jobs/" + answer.json()["id"].get<std::string>();
}

bool has_status(int port, const std::string& path, const std::string& status) {
  return eventually([&] { return ask(port, "GET", path).json()["status"] == status; });
}

TEST_F(ServerRedis, EachServerAnswersForAllJobs) {
  const Running one(shared()), two(shared());
  const std::string path = made(one.port(), {{"prompt", "a red apple"}, {"num_inference_steps", 3}, {"seed", 7}, {"n", 2}});
  ASSERT_TRUE(has_status(two.port(), path, "done"));
  const auto status = ask(two.port(), "GET", path).json();
  EXPECT_EQ(status, ask(one.port(), "GET", path).json());
  for (const char* image : {"/images/0", "/images/1"}) {
    const Answer there = ask(two.port(), "GET", path + image), here = ask(one.port(), "GET", path + image);
    EXPECT_EQ(there.status, 200);
    EXPECT_TRUE(there.has_header("Content-Type: image/png"));
    EXPECT_EQ(there.body, here.body);
  }
  EXPECT_EQ(ask(two.port(), "GET", path + "/images/2").status, 404);
  EXPECT_EQ(ask(two.port(), "GET", path + "/images/x").status, 404);
  EXPECT_EQ(ask(two.port(), "GET", "/jobs/0123456789").status, 404);
  EXPECT_EQ(events_of(ask(two.port(), "GET", path + "/events").body).back().name, "done");
  // Forgotten by one, forgotten by all.
  ask(one.port(), "DELETE", path);
  EXPECT_TRUE(eventually([&] { return ask(two.port(), "GET", path).status == 404; }));
}

TEST_F(ServerRedis, WhatIsNoJobHarmsNoServer) {
  const Running one(shared());
  Client redis(port_);
  const auto status = [](const char* steps) {
    return cat(R"({"status":"running","server":"gone","step":1,"progress":0,"seconds_left":0,"images":[],"steps":)", steps, '}');
  };
  redis.send(cat("SELECT 1\r\nSET vivace:job:a '", status("\"three\""), "'\r\nSET vivace:job:b '", status("3"),
                 "'\r\nSET vivace:job:b:request '{\"request\": 1}'\r\nSADD vivace:server:gone:jobs a b\r\nSADD vivace:servers gone\r\n"));
  ASSERT_TRUE(redis.read_until("+OK\r\n+OK\r\n+OK\r\n+OK\r\n:2\r\n:1\r\n")) << redis.seen();
  EXPECT_TRUE(has_status(one.port(), "/jobs/b", "failed"));
  EXPECT_EQ(ask(one.port(), "GET", "/jobs/a").status, 404);
  EXPECT_EQ(ask(one.port(), "GET", "/health").status, 200);
}

TEST_F(ServerRedis, AnotherServersJobIsFollowedAndStopped) {
  const Running one(shared()), two(shared());
  const std::string path = made(one.port(), {{"prompt", "x"}, {"num_inference_steps", 1000}});
  const std::string waiting = made(one.port(), {{"prompt", "x"}, {"num_inference_steps", 1000}});
  Client events(two.port());
  events.send(request_text("GET", path + "/events"));
  ASSERT_TRUE(events.read_until("event: step"));
  for (const std::string& job : {waiting, path}) {
    EXPECT_EQ(ask(two.port(), "DELETE", job).status, 200);
    EXPECT_TRUE(has_status(one.port(), job, "cancelled"));
  }
  EXPECT_TRUE(events.read_until("event: cancelled"));
}

nlohmann::json drawing(int seed, int steps) { return {{"prompt", "a red apple"}, {"num_inference_steps", steps}, {"seed", seed}}; }

std::string picture_of(int port, const std::string& path) { return ask(port, "GET", path + "/images/0").body; }

double jobs_done(int port) { return std::max(0.0, metric(port, "vivace_jobs_total{state=\"done\"}")); }

// `vivace serve`, which can be killed and stopped.
struct Replica {
  explicit Replica(const std::string& store)
      : program({VIVACE_PROGRAM, "serve", "--quiet", "--threads", "1", "--model", tiny_model().string(), "--port", std::to_string(port),
                 "--job-store", store}) {}
  bool serves() const {
    Client connection(port, false);
    return connection.send(request_text("GET", "/health")) && connection.read().status == 200;
  }
  const int port = free_port();
  Process program;
};

TEST_F(ServerRedis, JobsOfAServerThatWasKilledAreTakenUp) {
  Replica killed(url()), frozen(url());
  ASSERT_TRUE(eventually([&] { return killed.serves() && frozen.serves(); }));
  const std::string done = made(killed.port, drawing(1, 2));
  ASSERT_TRUE(has_status(killed.port, done, "done"));
  // One is drawn, others wait, and more come until the end: none that was answered with 202 may be lost.
  std::vector<std::string> jobs{made(killed.port, {{"prompt", "x"}, {"num_inference_steps", 1000}, {"n", 2}, {"seed", 0}})};
  ASSERT_TRUE(eventually([&] { return ask(killed.port, "GET", jobs[0]).json()["step"] > 0; }));
  jobs.push_back(made(frozen.port, {{"prompt", "x"}, {"num_inference_steps", 1000}, {"n", 2}, {"seed", 0}}));
  ASSERT_TRUE(eventually([&] { return ask(frozen.port, "GET", jobs[1]).json()["step"] > 0; }));
  for (int seed = 0; seed < 4; ++seed) jobs.push_back(made(killed.port, drawing(seed, 2)));
  nlohmann::json edit = drawing(7, 4);
  edit["image"] = base64(photo());
  jobs.push_back(made(killed.port, edit));
  killed.program.send(SIGKILL);
  frozen.program.send(SIGSTOP);
  const Running one(shared()), two(shared());
  Client events(two.port());
  events.send(request_text("GET", jobs[0] + "/events"));
  for (const std::string& job : jobs)
    ASSERT_TRUE(eventually([&] {
      const std::string status = ask(one.port(), "GET", job).json()["status"];
      EXPECT_TRUE(status == "queued" || status == "running" || status == "done") << status;
      return status == "done";
    })) << job;
  EXPECT_TRUE(events.read_until("event: done"));
  // Each of them once, on both servers, and as the first one would have drawn it.
  EXPECT_EQ(jobs_done(one.port()) + jobs_done(two.port()), jobs.size());
  EXPECT_GT(jobs_done(one.port()), 0);
  EXPECT_GT(jobs_done(two.port()), 0);
  for (size_t seed = 0; seed < 4; ++seed)
    EXPECT_EQ(image_of(picture_of(two.port(), jobs[2 + seed])).pixels(),
              image_of(generated({"--seed", std::to_string(seed), "--num-inference-steps", "2"})).pixels());
  EXPECT_EQ(image_of(picture_of(two.port(), jobs[6])).pixels(),
            image_of(generated({"--seed", "7", "--num-inference-steps", "4", "--image", photo_file()})).pixels());
  EXPECT_EQ(ask(one.port(), "GET", done).json()["status"], "done");
  EXPECT_EQ(ask(one.port(), "GET", done + "/images/0").status, 200);
  // The one that comes back has lost its job, and says what the others do.
  const std::string right = picture_of(one.port(), jobs[1]);
  frozen.program.send(SIGCONT);
  EXPECT_TRUE(has_status(frozen.port, jobs[1], "done"));
  EXPECT_EQ(picture_of(frozen.port, jobs[1]), right);
  EXPECT_EQ(ask(one.port(), "GET", jobs[1]).json()["status"], "done");
}

TEST_F(ServerRedis, AServerThatEndsLeavesWhatWaitsToOthers) {
  std::vector<std::string> jobs;
  {
    const Running ends(shared());
    jobs = {made(ends.port(), drawing(1, 1000)), made(ends.port(), drawing(2, 2))};
    ASSERT_TRUE(eventually([&] { return ask(ends.port(), "GET", jobs[0]).json()["step"] > 0; }));
  }
  // There is none that could draw them: they wait for one.
  const Running other(shared());
  for (const std::string& job : jobs) EXPECT_TRUE(has_status(other.port(), job, "done"));
}

TEST_F(ServerRedis, WhatEndsServersIsNotGivenToMore) {
  std::string bad, lost;
  {
    const Running ends(shared());
    bad = made(ends.port(), drawing(1, 1000));
    lost = made(ends.port(), drawing(1, 1000));
  }
  const auto redis = [&](const std::string& command) { return std::system(cat("redis-cli -p ", port_, " -n 1 ", command, " > /dev/null").c_str()); };
  // As if two more had gone; and one whose request is no longer there.
  const std::string request = "vivace:job:" + bad.substr(6) + ":request";
  ASSERT_EQ(redis(cat("SET ", request, " '{\"client\": \"x\", \"urgency\": 3, \"request\": \"{}\", \"servers\": 3}'")), 0);
  ASSERT_EQ(redis(cat("DEL vivace:job:", lost.substr(6), ":request")), 0);
  const Running other(shared());
  ASSERT_TRUE(has_status(other.port(), bad, "failed"));
  EXPECT_EQ(ask(other.port(), "GET", bad).json()["error"]["status"], 500);
  ASSERT_TRUE(has_status(other.port(), lost, "failed"));
  EXPECT_EQ(ask(other.port(), "GET", lost).json()["error"]["status"], 503);
}

TEST_F(ServerRedis, OneThatForgotAllIsToldAnew) {
  std::string drawn, waiting;
  {
    const Running one(shared());
    drawn = made(one.port(), {{"prompt", "a red apple"}, {"num_inference_steps", 1000}, {"seed", 1}, {"n", 10}});
    waiting = made(one.port(), drawing(2, 2));
    ASSERT_TRUE(eventually([&] { return ask(one.port(), "GET", drawn).json()["images"].size() > 0; }));
    redis_.reset();
    start_redis();
    // By the new one alone another server knows what is drawn, with its first pictures, and what waits.
    const Running two(shared());
    for (const auto& [job, status] : {std::pair(drawn, "running"), std::pair(waiting, "queued")}) EXPECT_TRUE(has_status(two.port(), job, status));
    EXPECT_EQ(picture_of(two.port(), drawn), picture_of(one.port(), drawn));
    EXPECT_EQ(ask(two.port(), "DELETE", drawn).status, 200);
    EXPECT_TRUE(has_status(one.port(), drawn, "cancelled"));
    EXPECT_TRUE(has_status(two.port(), waiting, "done"));
    drawn = made(one.port(), drawing(1, 1000));
    waiting = made(one.port(), drawing(2, 2));
    redis_.reset();
    start_redis();
    ASSERT_TRUE(eventually([&] { return ask(two.port(), "GET", waiting).status == 200; }));
  }
  // And makes it again where its server is gone.
  const Running other(shared());
  for (const std::string& job : {drawn, waiting}) EXPECT_TRUE(has_status(other.port(), job, "done"));
}

TEST_F(ServerRedis, WithoutRedisEachServerHasItsOwn) {
  const Running one(shared()), two(shared());
  redis_.reset();
  const std::string path = made(one.port(), {{"prompt", "x"}, {"num_inference_steps", 1}});
  EXPECT_TRUE(has_status(one.port(), path, "done"));
  EXPECT_EQ(ask(two.port(), "GET", path).status, 503);
  EXPECT_THROW(Running{shared()}, UserError);
}

// Answers whatever it is asked with 1, until it hangs.
class FakeRedis {
 public:
  int port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }
  void hang() { hangs_ = true; }
  bool was_told(const std::string& text) const {
    const std::lock_guard lock(mutex_);
    return heard_.find(text) != std::string::npos;
  }
  ~FakeRedis() {
    ::shutdown(socket_, SHUT_RDWR);  // where nobody has come, which closing alone does not tell accept()
    thread_.join();
    ::close(socket_);
  }

 private:
  void answer() {
    const int connection = ::accept(socket_, nullptr, nullptr);
    char words[4096];
    for (ssize_t n; (n = ::recv(connection, words, sizeof words, 0)) > 0;) {
      const std::lock_guard lock(mutex_);
      heard_.append(words, static_cast<size_t>(n));
      if (!hangs_) ::send(connection, ":1\r\n", 4, MSG_NOSIGNAL);
    }
    ::close(connection);
  }

  const int socket_ = listening_socket(SOCK_CLOEXEC);
  std::atomic<bool> hangs_ = false;
  mutable std::mutex mutex_;
  std::string heard_;
  std::jthread thread_{[this] { answer(); }};
};

nlohmann::json queued(const Job&) { return {{"status", "queued"}}; }

TEST(ServerRedisAway, OneThatHangsHoldsNobodyUp) {
  FakeRedis redis;
  auto jobs = std::make_unique<RedisJobs>(RedisAddress{.host = "127.0.0.1", .port = redis.port()}, 10, RedisJobs::Callbacks{});
  const auto follow = [&] {
    auto job = std::make_shared<Job>(random_id(), "client", Drawing{.seeds = {1}});
    const auto answered = std::make_shared<std::promise<void>>();
    jobs->follow(job, queued, "{}", [answered] { answered->set_value(); });
    answered->get_future().wait();
    return job;
  };
  redis.hang();
  const auto job = follow();  // by which it is found out
  for (int i = 0; i < 20; ++i) job->add_picture({});
  const auto begin = std::chrono::steady_clock::now();
  follow();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  jobs.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

TEST(ServerRedisAway, PicturesThatWereThereBeforeAreKeptToo) {
  FakeRedis redis;
  const auto job = std::make_shared<Job>("quick", "client", Drawing{.seeds = {1}});
  job->start();
  job->add_picture({});
  RedisJobs({.host = "127.0.0.1", .port = redis.port()}, 10, {}).follow(job, queued, "", [job] { job->end(); });
  EXPECT_TRUE(redis.was_told("vivace:job:quick:image:0"));
}

TEST(ServerRedisAway, WhatGoesOnElsewhereHasNoEndHere) {
  FakeRedis redis;
  Running running([&](ServerOptions& o) {
    o.job_store = cat("redis://127.0.0.1:", redis.port());
    o.shutdown_seconds = 0.1;
  });
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(std::make_unique<Client>(running.port()));
    clients.back()->send(request_text("GET", made(running.port(), drawing(1, 1000)) + "/events"));
    ASSERT_TRUE(clients.back()->read_until("event: status"));
  }
  running.server().shutdown();
  for (const auto& client : clients)  // one is drawn, one waits
    for (const Event& event : events_of(client->read().body))
      EXPECT_TRUE(event.name != "failed" && event.name != "cancelled") << event.name << event.data;
}

TEST(ServerRedisAddress, OfAUrl) {
  const RedisAddress whole = redis_address("redis://user:p@ss@db.example:7000/3");
  EXPECT_EQ(whole.host, "db.example");
  EXPECT_EQ(whole.user, "user");
  EXPECT_EQ(whole.password, "p@ss");
  EXPECT_EQ(whole.port, 7000);
  EXPECT_EQ(whole.database, 3);
  EXPECT_EQ(redis_address("redis://:p%40%2fss@localhost").password, "p@/ss");
  EXPECT_EQ(redis_address("redis://:p%40%2fss@localhost").user, "");
  EXPECT_EQ(redis_address("redis://localhost").port, 6379);
  EXPECT_EQ(redis_address("redis://localhost/").database, 0);
  for (const char* wrong : {"", "localhost", "http://x", "redis://", "redis://x:0", "redis://x:port", "redis://x/y"})
    EXPECT_THROW(redis_address(wrong), UsageError) << wrong;
  // It is told without the password.
  for (const char* wrong : {"redis://user:secret@x:port", "rediss://:secret@x", "redis:user:secret@x", "redis://:secret%@x"}) {
    const std::string message = message_of<UsageError>([&] { redis_address(wrong); });
    EXPECT_NE(message.find("...@x"), std::string::npos) << message;
    EXPECT_EQ(message.find("secret"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace vivace::server
