// The thread that draws: jobs out of the queue, one after the other. (Several at once would share the same cores, and memory would grow with them.)
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "job.h"
#include "job_queue.h"
#include "metrics.h"
#include "models.h"

namespace vivace::server {

// A request is not taken.
struct Refusal {
  Failure failure;
  int retry_after = 0;  // seconds; 0: it does not help
};

struct EngineLimits {
  size_t queue = 64, queue_of_a_client = 16;
  double job_seconds = 3600;   // that a job may take once it is begun
  double preview_seconds = 2;  // between two previews of a picture, of a job that somebody watches
};

class Engine {
 public:
  Engine(Models& models, Metrics& metrics, const EngineLimits& limits);
  // After close().
  ~Engine();
  Engine(const Engine&) = delete;

  // Throws Refusal where the queue is full or closed.
  void submit(std::shared_ptr<Job> job);
  // A job that waits ends at once, one that is drawn before its next kernel.
  void cancel(Job& job, const Failure& why);
  // Takes no more jobs and hands back those that wait. What is drawn is drawn on.
  void close();
  // To be called now and then: what takes too long is stopped.
  void check_time();
  std::shared_ptr<Job> running() const;
  size_t waiting() const { return queue_.size(); }
  std::optional<size_t> position(const Job& job) const { return queue_.position(job); }

 private:
  void run();
  void draw(Job& job);
  Picture draw_one(Job& job, LoadedModel& model, const CallOptions& options, uint64_t seed);

  Models& models_;
  Metrics& metrics_;
  const EngineLimits limits_;
  JobQueue queue_;
  mutable std::mutex mutex_;
  std::shared_ptr<Job> running_;
  std::thread thread_;
};

// What draws a picture again, as other programs write and read it.
std::string settings_text(const Drawing& drawing, const LoadedModel& model, const LoadedModel::Settings& settings, uint64_t seed, int height,
                          int width);

}  // namespace vivace::server
