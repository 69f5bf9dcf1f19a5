// A job: pictures that one client asked for, from waiting in the queue to their last byte.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "families/family.h"
#include "vivace/pipeline.h"

namespace vivace::server {

using Clock = std::chrono::steady_clock;

enum class Format { png, jpeg, webp };
std::string format_name(Format format);  // "png"
std::optional<Format> format_of(std::string_view name);

// An adapter over the model's weights.
struct LoraChoice {
  std::string name, path;
  double weight = 1;
  FileStamp stamp = {};  // of the file when it was asked for: one that took its place is another
  bool operator==(const LoraChoice&) const = default;
};

// What is to be drawn.
struct Drawing {
  std::string model;
  std::string scheduler;                // empty: the model's own
  std::string scheduler_config = "{}";  // fields of its config that differ, as JSON
  std::string prompt;
  CallOptions call;               // without seeds, callback and stop token
  std::vector<LoraChoice> loras;  // and no others
  std::vector<uint64_t> seeds;    // a picture each, drawn one after the other
  double steps_share = 1;         // of the model's own number of steps, where the call says none
  Format format = Format::png;
  int quality = 95;        // of jpeg and webp, 1 to 100
  int partial_images = 0;  // previews of each picture, spread over its steps
};

// What a call begins with: a picture and a mask, a picture, or neither, for which a model is opened as the class that it says it is.
Task task_of(const CallOptions& call);

// A file's content.
struct Picture {
  std::string bytes;
  Format format = Format::png;
  int height = 0, width = 0;
  uint64_t seed = 0;
  std::string settings;  // as the PNG's text says them
};

// Why there are no pictures: an HTTP status and a message; `field` where one of the request is at fault.
struct Failure {
  int status = 0;
  std::string message, field;
};

enum class JobState { queued, running, done, failed, cancelled };
std::string job_state_name(JobState state);

struct JobStatus {
  JobState state = JobState::queued;
  int step = 0, steps = 0;    // of the picture at hand, or of those that are drawn together
  double seconds_a_step = 0;  // so far
  double seconds_left = 0;    // of all pictures; 0 while that is not known
  double progress = 0;        // 0 to 1, of all pictures
  int previews = 0;           // of the picture at hand, so far
  std::shared_ptr<const Picture> preview;
  std::vector<std::shared_ptr<const Picture>> pictures;
  Failure failure;
};

enum class JobEvent { started, step, preview, picture, ended };

class Job {
 public:
  using Listener = std::function<void(const Job&, JobEvent)>;

  // The most urgent jobs, 0, are drawn first, 7 last.
  static constexpr int kMostUrgent = 0, kUrgency = 3, kLeastUrgent = 7;
  Job(std::string the_id, std::string the_client, Drawing the_drawing, int the_urgency = kUrgency);

  const std::string id, client;
  const int urgency;
  const Task task;
  const int64_t pixels_given;  // of the picture to begin with
  const size_t bytes_given;    // that its pictures take until the end
  const Drawing drawing;       // without the pictures that it was given
  const std::string kind;      // jobs of one kind may be drawn together; empty: alone
  const Clock::time_point made = Clock::now();

  // The drawing's, with those pictures, which are held until the end.
  CallOptions call() const;
  JobStatus status() const;
  // Called with what happens from now on, by the thread that does it; with `ended` at once where the end is past. The number is for unlisten().
  size_t listen(Listener listener);
  void unlisten(size_t number);
  // Somebody looks at previews: they are made from now on, now and then.
  void watch() { watched_ = true; }
  bool watched() const { return watched_; }

  // Another server could make it again, of its request: where this one answers 503, the job goes on there.
  void set_shared() { shared_ = true; }
  bool goes_on_elsewhere() const { return shared_ && status().failure.status == 503; }

  // Stops what is drawn before its next kernel; the job ends as cancelled, with this failure. The first of several counts.
  void cancel(Failure why);
  std::stop_token stop() const { return stop_.get_token(); }
  // No further steps: of this picture, which is decoded as it is, or of all.
  void skip() { skip_ = true; }
  void interrupt() { interrupt_ = true; }
  bool take_skip() { return skip_.exchange(false) || interrupt_; }
  bool interrupted() const { return interrupt_; }

  // Of the thread that draws.
  void start();
  // `at_once`: of its pictures that are drawn together.
  void set_step(int step, int steps, double seconds, size_t at_once);
  void set_preview(Picture preview);
  void add_picture(Picture picture);
  void end();  // done, or cancelled where that was asked for
  void fail(Failure failure);
  double seconds_waited() const;
  Clock::time_point started() const;  // the epoch before start()
  Clock::time_point ended() const;    // the same before the end
  size_t bytes() const;               // of its pictures
  void forget_pictures();             // of one that has ended

 private:
  void tell(JobEvent event);
  void finish(JobState state, Failure failure);

  mutable std::mutex mutex_;
  ImageInput image_, mask_image_;
  JobStatus status_;
  int steps_taken_ = 0;
  size_t at_once_ = 1;
  double seconds_ = 0;
  Failure cancelled_;
  std::stop_source stop_;
  std::atomic<bool> watched_ = false, shared_ = false, skip_ = false, interrupt_ = false;
  std::vector<std::pair<size_t, std::shared_ptr<const Listener>>> listeners_;
  size_t next_listener_ = 1;
  Clock::time_point started_{}, ended_{};
};

// 128 random bits, which nobody guesses, as 32 hexadecimal digits.
std::string random_id();

}  // namespace vivace::server
