// The thread that draws: jobs out of the queue, one after the other, or some that are alike in one call. (Several calls at once would share the same
// cores, and memory would grow with them.)
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
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
  int64_t pixels = int64_t{2048} * 2048;  // of a picture
  size_t queue = 64, queue_of_a_client = 16;
  size_t queue_bytes = size_t{2} << 30;  // of the pictures that waiting jobs bring, as they are drawn from
  size_t batch = 1;                      // pictures that are drawn in one call
  double job_seconds = 3600;             // that a job may take once it is begun
  double preview_seconds = 2;            // between two previews of a picture, of a job that somebody watches
};

class Engine {
 public:
  Engine(Models& models, Metrics& metrics, const EngineLimits& limits);
  // After close().
  ~Engine();
  Engine(const Engine&) = delete;

  // Throws FieldError for a size that is not drawn.
  void check_size(int64_t height, int64_t width) const;
  // Throws Refusal where the queue is full or closed. `admitted`: the job was in a server's queue already, so that its being full does not count.
  void submit(std::shared_ptr<Job> job, bool admitted = false);
  // A job that waits ends at once, one that is drawn before its next kernel.
  void cancel(Job& job, const Failure& why);
  // Takes no more jobs and hands back those that wait. What is drawn is drawn on.
  void close();
  // To be called now and then: what takes too long is stopped.
  void check_time();
  std::vector<std::shared_ptr<Job>> running() const;
  size_t waiting() const { return queue_.size(); }
  std::optional<size_t> position(const Job& job) const { return queue_.position(job); }

 private:
  using Jobs = std::vector<std::shared_ptr<Job>>;
  struct Wanted {  // a picture
    Job* job;
    uint64_t seed;
  };
  struct Batch;

  void run();
  void draw(const Jobs& jobs);
  void draw_all(const Jobs& jobs);
  void draw_batch(LoadedModel& model, const CallOptions& options, std::span<const Wanted> wanted);
  void after_step(Batch& batch, const DiffusionPipeline& pipe, int step, StepState& state);

  Models& models_;
  Metrics& metrics_;
  const EngineLimits limits_;
  JobQueue queue_;
  mutable std::mutex mutex_;
  Jobs running_;
  std::thread thread_;
};

// What draws a picture again, as other programs write and read it.
std::string settings_text(const Drawing& drawing, const LoadedModel& model, const LoadedModel::Settings& settings, uint64_t seed, int height,
                          int width);

}  // namespace vivace::server
