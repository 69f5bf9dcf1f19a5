// Several servers that share their jobs through a Redis of the test's own.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cli/program.h"
#include "base/log.h"
#include "drawn.h"

namespace vivace::server {
namespace {

// A program that runs until it is killed.
class Process {
 public:
  explicit Process(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ~Process() { kill(); }
  Process(const Process&) = delete;
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  bool alive() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_ = 0;
};

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
    redis_.emplace(std::vector<std::string>{"redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                                            "no", "--logfile", (folder_ / "log").string(), "--dir", folder_.path().string()});
    ASSERT_TRUE(eventually([&] {
      try {
        const RedisJobs jobs(redis_address(url()), 1, nullptr);
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

TEST_F(ServerRedis, JobsOfAServerThatWasKilledAreReported) {
  const int port = free_port();
  Process program(
      {VIVACE_PROGRAM, "serve", "--quiet", "--threads", "1", "--model", tiny_model().string(), "--port", std::to_string(port), "--job-store", url()});
  const auto serves = [&] {
    Client connection(port, false);
    return connection.send(request_text("GET", "/health")) && connection.read().status == 200;
  };
  ASSERT_TRUE(eventually(serves));
  const std::string done = made(port, {{"prompt", "x"}, {"num_inference_steps", 1}, {"seed", 1}});
  ASSERT_TRUE(has_status(port, done, "done"));
  const std::string drawn = made(port, {{"prompt", "x"}, {"num_inference_steps", 1000}, {"n", 10}});
  const std::string waits = made(port, {{"prompt", "x"}, {"num_inference_steps", 1000}});
  ASSERT_TRUE(eventually([&] { return ask(port, "GET", drawn).json()["step"] > 0; }));
  program.kill();
  const Running other(shared());
  ASSERT_TRUE(has_status(other.port(), drawn, "failed"));
  ASSERT_TRUE(has_status(other.port(), waits, "failed"));
  EXPECT_EQ(ask(other.port(), "GET", drawn).json()["error"]["status"], 503);
  EXPECT_EQ(ask(other.port(), "GET", done).json()["status"], "done");
  EXPECT_EQ(ask(other.port(), "GET", done + "/images/0").status, 200);
}

TEST_F(ServerRedis, WithoutRedisEachServerHasItsOwn) {
  const Running one(shared()), two(shared());
  redis_.reset();
  const std::string path = made(one.port(), {{"prompt", "x"}, {"num_inference_steps", 1}});
  EXPECT_TRUE(has_status(one.port(), path, "done"));
  EXPECT_EQ(ask(two.port(), "GET", path).status, 503);
  EXPECT_THROW(Running{shared()}, UserError);
}

TEST(ServerRedisAddress, OfAUrl) {
  const RedisAddress whole = redis_address("redis://user:p@ss@db.example:7000/3");
  EXPECT_EQ(whole.host, "db.example");
  EXPECT_EQ(whole.password, "p@ss");
  EXPECT_EQ(whole.port, 7000);
  EXPECT_EQ(whole.database, 3);
  EXPECT_EQ(redis_address("redis://localhost").port, 6379);
  EXPECT_EQ(redis_address("redis://localhost/").database, 0);
  for (const char* wrong : {"", "localhost", "http://x", "redis://", "redis://x:0", "redis://x:port", "redis://x/y"})
    EXPECT_THROW(redis_address(wrong), UsageError) << wrong;
}

}  // namespace
}  // namespace vivace::server
