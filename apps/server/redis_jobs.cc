#include "redis_jobs.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "fields.h"
#include "redis_values.h"

namespace vivace::server {
namespace {

constexpr std::chrono::seconds kConnectAgain{2};
// How often a server renews its lease and looks whether one of its jobs is to be stopped, or one of a server that is gone to be taken up; and how
// many seconds a lease is for.
constexpr std::chrono::milliseconds kLook{300};
constexpr const char* kLease = "5";
// A job that took so many servers with it is not given to another.
constexpr int kMostServers = 3;
constexpr timeval kTimeout{2, 0};
constexpr const char* kServerGone = "the server that had this job is gone: send it again";
// Beyond it only the beginning and the end of jobs is kept.
constexpr size_t kMostWork = 1000;

std::string key(const std::string& id) { return "vivace:job:" + id; }
std::string picture_key(const std::string& id, size_t index) { return cat(key(id), ":image:", index); }
std::string stop_key(const std::string& id) { return key(id) + ":stop"; }
std::string request_key(const std::string& id) { return key(id) + ":request"; }
constexpr const char* kServers = "vivace:servers";
std::string lease_key(const std::string& server) { return "vivace:server:" + server; }
std::string jobs_key(const std::string& server) { return lease_key(server) + ":jobs"; }

// KEYS: the set of the writer's jobs, the job's status, the key; ARGV: the job, the value, seconds. A Redis that has forgotten all is told anew.
constexpr const char* kSetOwn = R"(
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then
  if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
  redis.call('SADD', KEYS[1], ARGV[1])
end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
return 1)";

void free_reply(redisReply* reply) { freeReplyObject(reply); }

std::string_view text_of(const redisReply& reply) {
  return reply.type == REDIS_REPLY_STRING ? std::string_view(reply.str, reply.len) : std::string_view();
}

std::vector<std::string> texts_of(const redisReply* reply) {
  std::vector<std::string> texts;
  for (size_t i = 0; reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; ++i)
    if (reply->element[i]->type == REDIS_REPLY_STRING) texts.emplace_back(reply->element[i]->str, reply->element[i]->len);
  return texts;
}

}  // namespace

RedisJobs::RedisJobs(const RedisAddress& address, double seconds, Callbacks callbacks)
    : address_(address),
      seconds_(std::to_string(std::max(1L, std::lround(seconds)))),
      self_(random_id()),
      callbacks_(std::move(callbacks)),
      redis_(nullptr, redisFree) {
  if (!connected()) throw UserError(cat("no Redis at ", address_.host, " port ", address_.port, ": start one, or leave --job-store out"));
  look_after();
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

// What waits is done first, unless Redis is away.
RedisJobs::~RedisJobs() {
  ending_ = true;
  thread_.request_stop();
  thread_.join();
  if (connected()) command({"DEL", lease_key(self_)});
}

bool RedisJobs::connected() {
  if (redis_ && redis_->err == 0) return true;
  reachable_ = false;
  if (ending_ || Clock::now() < try_again_) return false;
  redis_.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, kTimeout));
  if (greeted())
    reachable_ = is_new_ = true;
  else
    redis_.reset();
  // From the end of the attempt on: it may have taken as long as the pause is, and whatever comes in the pause takes no time.
  try_again_ = Clock::now() + kConnectAgain;
  return reachable_;
}

// SELECT is asked for in any case: one that hangs lets itself be connected to, and answers nothing.
bool RedisJobs::greeted() {
  if (!redis_ || redis_->err != 0) return false;
  redisSetTimeout(redis_.get(), kTimeout);
  if (!address_.password.empty()) {
    std::vector<std::string> words{"AUTH", address_.password};
    if (!address_.user.empty()) words.insert(words.begin() + 1, address_.user);
    if (!command(words)) return false;
  }
  return command({"SELECT", std::to_string(address_.database)}) != nullptr;
}

RedisJobs::Reply RedisJobs::command(const std::vector<std::string>& words) {
  if (!redis_) return {nullptr, free_reply};
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  Reply reply(static_cast<redisReply*>(redisCommandArgv(redis_.get(), static_cast<int>(words.size()), texts.data(), sizes.data())), free_reply);
  if (reply && reply->type == REDIS_REPLY_ERROR) {
    warn("Redis refuses ", words[0], ": ", reply->str);
    reply.reset();
  }
  return reply;
}

bool RedisJobs::exists(const std::string& key) {
  const Reply reply = command({"EXISTS", key});
  return reply && reply->integer != 0;
}

void RedisJobs::ask(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  work_.push_back(std::move(work));
  changed_.notify_one();
}

void RedisJobs::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested() || !work_.empty()) {
    changed_.wait_for(lock, stop, kLook, [&] { return !work_.empty(); });
    if (!work_.empty()) {
      const std::function<void()> next = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      next();
      lock.lock();
    }
    if (Clock::now() - looked_ < kLook) continue;
    lock.unlock();
    look_after();
    lock.lock();
  }
}

void RedisJobs::look_after() {
  looked_ = Clock::now();
  if (!connected()) return;
  command({"SET", lease_key(self_), "1", "EX", kLease});
  command({"SADD", kServers, self_});
  if (std::exchange(is_new_, false)) tell_all();
  if (takes_up_) look_for_orphans();
  std::erase_if(watched_, [this](const auto& watched) { return !watched.second(found(watched.first)); });
  std::erase_if(followed_, [](const Followed& f) {
    const auto job = f.job.lock();
    return !job || job->ended() != Clock::time_point{};
  });
  if (followed_.empty()) return;
  std::vector<std::string> words{"MGET"};
  for (const Followed& f : followed_) words.push_back(stop_key(f.id));
  const Reply reply = command(words);
  for (size_t i = 0; reply && i < reply->elements; ++i)
    if (const auto job = followed_[i].job.lock(); job && reply->element[i]->type == REDIS_REPLY_STRING) callbacks_.cancel(job);
}

void RedisJobs::look_for_orphans() {
  const Reply servers = command({"SMEMBERS", kServers});
  for (const std::string& server : texts_of(servers.get())) {
    if (server == self_ || exists(lease_key(server))) continue;
    const Reply id = command({"SRANDMEMBER", jobs_key(server)});
    if (!id || id->type != REDIS_REPLY_STRING) {
      command({"SREM", kServers, server});
      continue;
    }
    const std::string job(id->str, id->len);
    const Reply moved = command({"SMOVE", jobs_key(server), jobs_key(self_), job});
    if (moved && moved->integer == 1) return begin_again(job);
  }
}

void RedisJobs::begin_again(const std::string& id) {
  const Reply told = command({"GET", key(id)}), asked = command({"GET", request_key(id)});
  const nlohmann::json status = told ? status_in(text_of(*told)) : nlohmann::json();
  nlohmann::json order = asked ? order_in(text_of(*asked)) : nlohmann::json();
  if (status.is_null() || has_ended(status)) {
    command({"SREM", jobs_key(self_), id});
    return;
  }
  const Order again{.id = id,
                    .client = order.is_object() ? order.value("client", "") : "",
                    .request = order.is_object() ? order.value("request", "") : "",
                    .urgency = order.is_object() ? order.value("urgency", Job::kUrgency) : Job::kUrgency};
  if (again.request.empty()) return fail(again, {503, kServerGone, ""});
  const int servers = order.contains("servers") && order["servers"].is_number_integer() ? order["servers"].get<int>() : 1;
  if (servers >= kMostServers) return fail(again, {500, cat(servers, " servers went while they had this job: it is not given to another"), ""});
  order["servers"] = servers + 1;
  set(id, request_key(id), json_text(order));
  callbacks_.take_up(again);
}

void RedisJobs::fail(const Order& order, const Failure& failure) {
  ask([this, id = order.id, failure] {
    nlohmann::json status = found(id).status;
    if (status.is_null()) return;
    set_failed(status, failure);
    save(id, std::move(status));
  });
}

bool RedisJobs::set(const std::string& id, const std::string& name, const std::string& value) {
  if (!connected()) return true;
  const Reply reply = command({"EVAL", kSetOwn, "3", jobs_key(self_), key(id), name, id, value, seconds_});
  return !reply || reply->integer == 1;
}

bool RedisJobs::save(const std::string& id, nlohmann::json status) {
  status["server"] = self_;
  const bool own = set(id, key(id), json_text(status));
  if (!own || !has_ended(status)) return own;
  command({"DEL", request_key(id)});
  command({"SREM", jobs_key(self_), id});
  return true;
}

bool RedisJobs::tell(const Job& job, const Followed& followed) {
  // One that was taken up is there, and has been counted.
  if (!followed.order.empty() && connected()) command({"SET", request_key(followed.id), followed.order, "EX", seconds_, "NX"});
  return save(followed.id, followed.status(job));
}

void RedisJobs::tell_all() {
  for (const Followed& f : followed_) {
    const auto job = f.job.lock();
    if (!job || job->ended() != Clock::time_point{}) continue;
    const auto pictures = job->status().pictures;
    for (size_t i = 0; i < pictures.size(); ++i) set(f.id, picture_key(f.id, i), packed(*pictures[i]));
    if (!tell(*job, f)) callbacks_.lost(job);
  }
}

void RedisJobs::follow(const std::shared_ptr<Job>& job, const Status& status, const std::string& request, std::function<void()> then) {
  // Before anybody is answered: whoever knows of the job may see it end.
  if (!request.empty()) job->set_shared();
  // Nobody has to wait for one that is away.
  if (!reachable_) std::exchange(then, [] {})();
  ask([this, job, status, request, then = std::move(then)] {
    const std::string order = request.empty() ? "" : json_text({{"client", job->client}, {"urgency", job->urgency}, {"request", request}});
    followed_.push_back({job, job->id, order, status});
    tell(*job, followed_.back());
    then();
  });
  // The job may have been drawn before anybody listened: pictures are kept with whatever is heard next.
  job->listen([this, status, whose = std::weak_ptr(job), last = Clock::time_point(), kept = size_t{0}](const Job& j, JobEvent event) mutable {
    // Steps are many: one now and then.
    if (event == JobEvent::preview || (event == JobEvent::step && Clock::now() - last < kLook)) return;
    last = Clock::now();
    const JobStatus now = j.status();
    if (event == JobEvent::ended && handing_over_ && j.goes_on_elsewhere()) return;
    {
      const std::lock_guard lock(mutex_);
      if (event == JobEvent::step && work_.size() > kMostWork) return;
    }
    for (; kept < now.pictures.size(); ++kept)
      ask([this, id = j.id, index = kept, picture = now.pictures[kept]] { set(id, picture_key(id, index), packed(*picture)); });
    ask([this, whose, id = j.id, text = status(j)] {
      if (save(id, text)) return;
      if (const auto of = whose.lock()) callbacks_.lost(of);
    });
  });
}

RedisJobs::Found RedisJobs::found(const std::string& id) {
  for (std::string before;;) {
    const Reply reply = connected() ? command({"GET", key(id)}) : Reply(nullptr, free_reply);
    if (!reply) return {.state = Found::State::unreachable, .status = {}};
    nlohmann::json status = status_in(text_of(*reply));
    if (status.is_null()) return {};
    const std::string server = status["server"];
    status.erase("server");
    if (has_ended(status) || exists(lease_key(server))) return {.state = Found::State::found, .status = std::move(status)};
    if (exists(request_key(id))) {
      status["status"] = job_state_name(JobState::queued);
      return {.state = Found::State::found, .status = std::move(status)};
    }
    // Unless another has taken it up, and ended it, meanwhile.
    if (server == before) {
      set_failed(status, {503, kServerGone, ""});
      return {.state = Found::State::found, .status = std::move(status)};
    }
    before = server;
  }
}

void RedisJobs::find(const std::string& id, std::function<void(const Found&)> then) {
  ask([this, id, then = std::move(then)] { then(found(id)); });
}

void RedisJobs::watch(const std::string& id, std::function<bool(const Found&)> then) {
  ask([this, id, then = std::move(then)] {
    if (then(found(id))) watched_.emplace_back(id, then);
  });
}

void RedisJobs::picture(const std::string& id, size_t index, std::function<void(std::shared_ptr<const Picture>)> then) {
  ask([this, id, index, then = std::move(then)] {
    const Reply reply = connected() ? command({"GET", picture_key(id, index)}) : Reply(nullptr, free_reply);
    then(reply ? unpacked(text_of(*reply)) : nullptr);
  });
}

void RedisJobs::remove(const std::string& id) {
  ask([this, id] {
    const Found job = found(id);
    if (job.state != Found::State::found) return;
    if (!has_ended(job.status)) {
      command({"SET", stop_key(id), "1", "EX", seconds_});
      return;
    }
    std::vector<std::string> words{"DEL", key(id), stop_key(id)};
    for (size_t i = 0; i < job.status["images"].size(); ++i) words.push_back(picture_key(id, i));
    command(words);
  });
}

}  // namespace vivace::server
