// Jobs in Redis, so that each of several servers answers for all of them, and none is lost with its server: another takes up what it had.
// A server has its jobs as long as its lease, a key that it renews and that goes with it. Their ids are a set, and whoever moves one into its own has
// that job from then on. What is written of a job is written only where the job is in the writer's set still, so one that was away for too long
// changes nothing.
#pragma once

#include <atomic>
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
  std::string host, user, password;
  int port = 6379, database = 0;
};
// Of "redis://[[user]:password@]host[:port][/database]", user and password percent-encoded. Throws UsageError, which does not show them.
RedisAddress redis_address(const std::string& url);

// Has a thread of its own, since Redis may be slow, or gone: then jobs are this server's alone until it is back.
class RedisJobs {
 public:
  struct Found {
    enum class State { found, none, unreachable } state = State::none;
    nlohmann::json status;  // as the server that has the job would say
  };
  using Status = std::function<nlohmann::json(const Job&)>;
  // What makes a job again where its server is gone.
  struct Order {
    std::string id, client, request;
    int urgency = Job::kUrgency;
  };
  // All called on this object's thread, of one of this server's jobs.
  struct Callbacks {
    std::function<void(const std::shared_ptr<Job>& job)> cancel;  // which somebody asked another server for
    std::function<void(const std::shared_ptr<Job>& job)> lost;    // another has it
    std::function<void(const Order& order)> take_up;              // another had it, and is gone
  };

  // What is kept lives for so long after its last change. Throws UserError where Redis cannot be reached now.
  RedisJobs(const RedisAddress& address, double seconds, Callbacks callbacks);
  // What is not done is the others'.
  ~RedisJobs();
  RedisJobs(const RedisJobs&) = delete;

  // Keeps what becomes of the job, and `request`, by which another server could make it again; empty: none could. Then calls back, there, or at once
  // where Redis is away.
  void follow(const std::shared_ptr<Job>& job, const Status& status, const std::string& request, std::function<void()> then);
  // This server could draw more: jobs whose server is gone are taken up, one after the other, so that other servers have their share. Not at first.
  void take_up(bool yes) { takes_up_ = yes; }
  // An order that cannot be drawn.
  void fail(const Order& order, const Failure& failure);
  // This server ends: jobs that are stopped by that are left for another.
  void hand_over() { handing_over_ = true; }
  // Of another server's job: called back on this object's thread. One whose server is gone waits for the next, or has failed where none could make
  // it again.
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
    std::string id, order;  // empty: none could make it again
    Status status;
  };

  void run(const std::stop_token& stop);
  // Whatever is told while it is not is dropped, at once but for one attempt now and then: tell_all() says it again.
  bool connected();
  bool greeted();
  // Nothing where Redis is gone.
  Reply command(const std::vector<std::string>& words);
  bool exists(const std::string& key);
  void ask(std::function<void()> work);
  // Of a job of this server; false where it is another's.
  bool set(const std::string& id, const std::string& name, const std::string& value);
  bool save(const std::string& id, nlohmann::json status);
  bool tell(const Job& job, const Followed& followed);
  // To a Redis that was away: it may have been started again, with nothing in it.
  void tell_all();
  Found found(const std::string& id);
  void look_after();
  void look_for_orphans();
  void begin_again(const std::string& id);

  const RedisAddress address_;
  const std::string seconds_, self_;
  const Callbacks callbacks_;
  std::atomic<bool> takes_up_ = false, handing_over_ = false, ending_ = false;
  std::atomic<bool> reachable_ = false;  // as far as is known
  std::unique_ptr<redisContext, void (*)(redisContext*)> redis_;
  bool is_new_ = false;  // the connection
  Clock::time_point try_again_{}, looked_{};
  std::vector<Followed> followed_;  // of this object's thread, as all before
  std::vector<std::pair<std::string, std::function<bool(const Found&)>>> watched_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> work_;
  std::jthread thread_;
};

}  // namespace vivace::server
