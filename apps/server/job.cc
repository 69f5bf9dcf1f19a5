#include "job.h"

#include <algorithm>
#include <random>

#include "base/log.h"

namespace vivace::server {

std::string format_name(Format format) {
  static constexpr const char* kNames[] = {"png", "jpeg", "webp"};
  return kNames[static_cast<size_t>(format)];
}

std::optional<Format> format_of(std::string_view name) {
  for (const Format format : {Format::png, Format::jpeg, Format::webp})
    if (format_name(format) == name) return format;
  return std::nullopt;
}

std::string job_state_name(JobState state) {
  static constexpr const char* kNames[] = {"queued", "running", "done", "failed", "cancelled"};
  return kNames[static_cast<size_t>(state)];
}

std::string random_id() {
  std::random_device random;  // the system's, which is meant for secrets
  char text[33];
  std::snprintf(text, sizeof text, "%08x%08x%08x%08x", random(), random(), random(), random());
  return text;
}

Task task_of(const CallOptions& call) {
  if (call.image.empty()) return Task::text_to_image;
  return call.mask_image.empty() ? Task::image_to_image : Task::inpainting;
}

namespace {

int64_t pixels_of(const ImageInput& input) {
  int64_t pixels = 0;
  for (const Image& image : input.images) pixels += int64_t{image.height()} * image.width();
  return pixels;
}

size_t bytes_taken(const ImageInput& input) {
  size_t bytes = 0;
  for (const Image& image : input.images) bytes += image.tensor().bytes();
  return bytes;
}

// To the last bit.
std::string or_none(std::optional<double> value) {
  char text[40] = "-";
  if (value) std::snprintf(text, sizeof text, "%a", *value);
  return text;
}

// All that a call says once for all of its pictures. Partial images are those of one picture after the other.
std::string kind_of(const Drawing& d) {
  if (d.partial_images > 0) return "";
  const CallOptions& call = d.call;
  std::string text = cat(d.model, '\n', d.scheduler, '\n', d.scheduler_config, '\n', or_none(d.steps_share), ' ', call.height, 'x', call.width, ' ',
                         or_none(call.num_inference_steps), ' ', or_none(call.guidance_scale), ' ', or_none(call.true_cfg_scale), ' ',
                         or_none(call.eta), ' ', or_none(call.clip_skip), ' ', call.negative_prompt.has_value());
  for (const LoraChoice& lora : d.loras) text += cat('\n', lora.path, ' ', or_none(lora.weight), ' ', lora.stamp.text());
  return text;
}

Drawing without_pictures(Drawing drawing) {
  drawing.call.image = drawing.call.mask_image = {};
  return drawing;
}

}  // namespace

Job::Job(std::string the_id, std::string the_client, Drawing the_drawing, int the_urgency)
    : id(std::move(the_id)),
      client(std::move(the_client)),
      urgency(the_urgency),
      task(task_of(the_drawing.call)),
      pixels_given(pixels_of(the_drawing.call.image)),
      bytes_given(bytes_taken(the_drawing.call.image) + bytes_taken(the_drawing.call.mask_image)),
      drawing(without_pictures(the_drawing)),
      kind(task == Task::text_to_image ? kind_of(drawing) : ""),
      image_(std::move(the_drawing.call.image)),
      mask_image_(std::move(the_drawing.call.mask_image)) {}

CallOptions Job::call() const {
  CallOptions call = drawing.call;
  const std::lock_guard lock(mutex_);
  call.image = image_;
  call.mask_image = mask_image_;
  return call;
}

JobStatus Job::status() const {
  const std::lock_guard lock(mutex_);
  JobStatus s = status_;
  const auto count = static_cast<double>(drawing.seeds.size());
  s.seconds_a_step = steps_taken_ > 0 ? seconds_ / steps_taken_ : 0;
  const auto at_once = static_cast<double>(at_once_);
  // In pictures.
  const double done = static_cast<double>(s.pictures.size()) + (s.steps > 0 ? at_once * s.step / s.steps : 0);
  s.progress = s.state == JobState::done ? 1 : std::min(done / count, 1.0);
  if (s.state == JobState::running) s.seconds_left = s.seconds_a_step * s.steps * std::max(0.0, count - done) / at_once;
  return s;
}

size_t Job::listen(Listener listener) {
  auto shared = std::make_shared<const Listener>(std::move(listener));
  {
    const std::lock_guard lock(mutex_);
    if (status_.state <= JobState::running) {
      listeners_.emplace_back(next_listener_, std::move(shared));
      return next_listener_++;
    }
  }
  (*shared)(*this, JobEvent::ended);
  return 0;
}

void Job::unlisten(size_t number) {
  const std::lock_guard lock(mutex_);
  std::erase_if(listeners_, [&](const auto& entry) { return entry.first == number; });
}

void Job::tell(JobEvent event) {
  std::vector<std::pair<size_t, std::shared_ptr<const Listener>>> listeners;
  {
    const std::lock_guard lock(mutex_);
    listeners = listeners_;
    if (event == JobEvent::ended) listeners_.clear();
  }
  for (const auto& [number, listener] : listeners) {
    try {
      (*listener)(*this, event);
    } catch (const std::exception& error) {  // for want of memory: neither the others' matter nor the drawing thread's
      warn("job ", id, ": nobody was told what became of it: ", error.what());
    }
  }
}

void Job::cancel(Failure why) {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_.status != 0 || status_.state > JobState::running) return;
    cancelled_ = std::move(why);
  }
  stop_.request_stop();
}

void Job::start() {
  {
    const std::lock_guard lock(mutex_);
    status_.state = JobState::running;
    started_ = Clock::now();
  }
  tell(JobEvent::started);
}

void Job::set_step(int step, int steps, double seconds, size_t at_once) {
  {
    const std::lock_guard lock(mutex_);
    at_once_ = at_once;
    status_.step = step;
    status_.steps = steps;
    seconds_ += seconds;
    ++steps_taken_;
  }
  tell(JobEvent::step);
}

void Job::set_preview(Picture preview) {
  {
    const std::lock_guard lock(mutex_);
    status_.preview = std::make_shared<const Picture>(std::move(preview));
    ++status_.previews;
  }
  tell(JobEvent::preview);
}

void Job::add_picture(Picture picture) {
  {
    const std::lock_guard lock(mutex_);
    status_.pictures.push_back(std::make_shared<const Picture>(std::move(picture)));
    status_.step = status_.previews = 0;
    status_.preview = nullptr;
  }
  tell(JobEvent::picture);
}

void Job::end() {
  Failure why;
  {
    const std::lock_guard lock(mutex_);
    why = cancelled_;
  }
  finish(why.status == 0 ? JobState::done : JobState::cancelled, why);
}

void Job::fail(Failure failure) { finish(JobState::failed, std::move(failure)); }

void Job::finish(JobState state, Failure failure) {
  {
    const std::lock_guard lock(mutex_);
    if (status_.state > JobState::running) return;
    status_.state = state;
    if (state == JobState::done) status_.step = status_.steps;
    status_.failure = std::move(failure);
    status_.preview = nullptr;
    image_ = mask_image_ = {};
    ended_ = Clock::now();
  }
  tell(JobEvent::ended);
}

double Job::seconds_waited() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::duration<double>((started_ == Clock::time_point{} ? Clock::now() : started_) - made).count();
}

Clock::time_point Job::started() const {
  const std::lock_guard lock(mutex_);
  return started_;
}

Clock::time_point Job::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

size_t Job::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& picture : status_.pictures) total += picture->bytes.size();
  return total;
}

void Job::forget_pictures() {
  const std::lock_guard lock(mutex_);
  status_.pictures.clear();
}

}  // namespace vivace::server
