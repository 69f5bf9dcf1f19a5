// Jobs in Redis, so that each of several servers answers for all of them, and none is forgotten with its server.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "job.h"

struct redisContext;
struct redisReply;

namespace vivace::server {

struct RedisAddress {
  std::string host, password;
  int port = 6379, database = 0;
};
// Of "redis://[:password@]host[:port][/database]". Throws UsageError.
RedisAddress redis_address(const std::string& url);

// Has a thread of its own, since Redis may be slow, or gone: then jobs are this server's alone until it is back.
class RedisJobs {
 public:
  struct Found {
    enum class State { found, none, unreachable } state = State::none;
    nlohmann::json status;  // as the server that has the job would say
  };
  using Status = std::function<nlohmann::json(const Job&)>;

  // What is kept lives for so long after its last change. `cancel`: of one of this server's jobs, which somebody asked another server for; called on
  // this object's thread. Throws UserError where Redis cannot be reached now.
  RedisJobs(const RedisAddress& address, double seconds, std::function<void(const std::shared_ptr<Job>&)> cancel);
  ~RedisJobs();
  RedisJobs(const RedisJobs&) = delete;

  // Keeps what becomes of the job.
  void follow(const std::shared_ptr<Job>& job, const Status& status);
  // Of another server's job: called back on this object's thread. One whose server is gone has failed.
  void find(const std::string& id, std::function<void(const Found& found)> then);
  // The same again and again, until `then` returns false.
  void watch(const std::string& id, std::function<bool(const Found& found)> then);
  // Its picture as a file; nothing where there is none.
  void picture(const std::string& id, size_t index, std::function<void(std::shared_ptr<const Picture> picture)> then);
  // Another server's job: stopped there, or forgotten, where it has ended.
  void remove(const std::string& id);

 private:
  using Reply = std::unique_ptr<redisReply, void (*)(redisReply*)>;
  struct Followed {
    std::weak_ptr<Job> job;
    std::string id;
  };

  void run(const std::stop_token& stop);
  bool connected();
  // Nothing where Redis is gone.
  Reply command(const std::vector<std::string>& words);
  void ask(std::function<void()> work);
  void save(const std::string& id, nlohmann::json status);
  Found found(const std::string& id);
  void look_after();

  const RedisAddress address_;
  const std::string seconds_, self_;
  const std::function<void(const std::shared_ptr<Job>&)> cancel_;
  std::unique_ptr<redisContext, void (*)(redisContext*)> redis_;
  Clock::time_point try_again_{}, looked_{};
  std::vector<Followed> followed_;  // of this object's thread, as all before
  std::vector<std::pair<std::string, std::function<bool(const Found&)>>> watched_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> work_;
  std::jthread thread_;
};

}  // namespace vivace::server
