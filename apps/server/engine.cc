#include "engine.h"

#include <algorithm>
#include <cmath>

#include "base/joined.h"
#include "base/log.h"
#include "encode.h"
#include "fields.h"
#include "vivace/error.h"
#include "vivace/version.h"

namespace vivace::server {
namespace {

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// A file that does not fit the model is the request's fault, which named it.
void use_loras(LoadedModel& model, const Drawing& drawing) {
  try {
    model.use_loras(drawing.loras);
  } catch (const UserError& error) {
    throw FieldError("loras", cat("loras: ", error.what()));
  }
}

constexpr const char* kShuttingDown = "the server is shutting down: try again";

}  // namespace

std::string settings_text(const Drawing& drawing, const LoadedModel& model, const LoadedModel::Settings& settings, uint64_t seed, int height,
                          int width) {
  std::string text = drawing.prompt + '\n';
  if (drawing.call.negative_prompt && !drawing.call.negative_prompt->empty() && !drawing.call.negative_prompt->front().empty())
    text += cat("Negative prompt: ", drawing.call.negative_prompt->front(), '\n');
  text += cat("Steps: ", settings.steps, ", Sampler: ", model.pipe().scheduler().class_name(), ", CFG scale: ", settings.guidance_scale,
              ", Seed: ", seed, ", Size: ", width, 'x', height, ", Model: ", drawing.model);
  if (drawing.call.strength) text += cat(", Denoising strength: ", *drawing.call.strength);
  if (!drawing.loras.empty())
    text += ", Loras: " + joined(drawing.loras, " ", [](const LoraChoice& lora) { return cat(lora.name, ':', lora.weight); });
  return text + cat(", Version: Vivace ", VIVACE_VERSION);
}

Engine::Engine(Models& models, Metrics& metrics, const EngineLimits& limits)
    : models_(models), metrics_(metrics), limits_(limits), queue_(limits.queue, limits.queue_of_a_client), thread_([this] { run(); }) {}

Engine::~Engine() {
  close();
  thread_.join();
}

void Engine::submit(std::shared_ptr<Job> job) {
  const JobQueue::Pushed pushed = queue_.push(std::move(job));
  if (pushed == JobQueue::Pushed::yes) return;
  const double seconds = std::ceil(std::max(1.0, metrics_.job_seconds()) * static_cast<double>(queue_.size() + 1));
  const int retry_after = static_cast<int>(std::min(seconds, 3600.0));
  if (pushed == JobQueue::Pushed::closed) throw Refusal{{503, kShuttingDown, ""}, retry_after};
  const char* whose = pushed == JobQueue::Pushed::full ? "" : " for this client";
  throw Refusal{{429, cat("the queue is full", whose, ": ", queue_.size(), " jobs are waiting; try again in ", retry_after, " s"), ""}, retry_after};
}

void Engine::cancel(Job& job, const Failure& why) {
  const bool waited = queue_.remove(job);
  job.cancel(why);
  if (!waited) return;
  metrics_.job(JobState::cancelled, job.seconds_waited(), 0);
  job.end();
}

void Engine::close() {
  for (const auto& job : queue_.close()) job->fail({503, kShuttingDown, ""});
}

void Engine::check_time() {
  const auto job = running();
  if (job && limits_.job_seconds > 0 && since(job->started()) > limits_.job_seconds)
    job->cancel({504, cat("the job took longer than the ", limits_.job_seconds, " s that this server gives one"), ""});
}

std::shared_ptr<Job> Engine::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

void Engine::run() {
  while (const auto job = queue_.take()) {
    // Begun before anybody can see it as running, so that it has a time to be measured from.
    job->start();
    {
      const std::lock_guard lock(mutex_);
      running_ = job;
    }
    draw(*job);
    models_.keep_within_budget(job->drawing.model);
    metrics_.job(job->status().state, job->seconds_waited(), since(job->started()));
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
  }
}

void Engine::draw(Job& job) {
  try {
    const auto model = models_.load(job.drawing.model, job.task);
    model->use_scheduler(job.drawing.scheduler, job.drawing.scheduler_config);
    use_loras(*model, job.drawing);
    CallOptions call = model->fitted(job.call());
    if (!call.num_inference_steps && job.drawing.steps_share < 1)
      call.num_inference_steps =
          std::max(1, static_cast<int>(std::lround(job.drawing.steps_share * model->settings(job.drawing.prompt, call).steps)));
    for (const uint64_t seed : job.drawing.seeds) {
      job.add_picture(draw_one(job, *model, call, seed));
      metrics_.picture();
      if (job.interrupted()) break;
    }
    job.end();
  } catch (const Interrupted&) {
    job.end();
  } catch (...) {
    job.fail(failure_of_exception());
  }
}

Picture Engine::draw_one(Job& job, LoadedModel& model, const CallOptions& options, uint64_t seed) {
  const Drawing& drawing = job.drawing;
  const LoadedModel::Settings settings = model.settings(drawing.prompt, options);
  CallOptions call = options;
  call.seed = seed;
  call.stop = job.stop();
  int partial = 0;
  Clock::time_point last = Clock::now();
  call.callback_on_step_end = [&](const DiffusionPipeline& pipe, int step, float, StepState& state) {
    metrics_.step(state.seconds);
    const int done = step + 1, steps = state.num_timesteps;
    job.set_step(done, steps, state.seconds);
    if (job.take_skip()) state.interrupt = true;
    if (done == steps || state.interrupt) return;
    const bool due = done * (drawing.partial_images + 1) / steps > partial;
    if (!due && !(job.watched() && since(last) >= limits_.preview_seconds)) return;
    if (due) ++partial;
    last = Clock::now();
    job.set_preview(encoded(model.previews().preview(pipe, state.latents, settings.height, settings.width), Format::png, 0, seed, ""));
  };
  const PipelineOutput out = model.pipe()(drawing.prompt, call);
  const Image& image = out.images.at(0);
  if (!call.padding_mask_crop) model.previews().learn(out.latents, image);  // whose latents are a part's
  return encoded(image, drawing.format, drawing.quality, seed, settings_text(drawing, model, settings, seed, image.height(), image.width()));
}

}  // namespace vivace::server
