#include "engine.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <stop_token>

#include "base/joined.h"
#include "base/log.h"
#include "encode.h"
#include "fields.h"
#include "samplers.h"
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

// Previews that somebody watches take at most one part in so many of the time.
constexpr double kPreviewShare = 20;
constexpr const char* kShuttingDown = "the server is shutting down: try again";

}  // namespace

std::string settings_text(const Drawing& drawing, const LoadedModel& model, const LoadedModel::Settings& settings, uint64_t seed, int height,
                          int width) {
  std::string text = drawing.prompt + '\n';
  if (drawing.call.negative_prompt && !drawing.call.negative_prompt->empty() && !drawing.call.negative_prompt->front().empty())
    text += cat("Negative prompt: ", drawing.call.negative_prompt->front(), '\n');
  // By the name that was asked for, which may say more than the class.
  text += cat("Steps: ", settings.steps, ", Sampler: ", drawing.scheduler.empty() ? model.pipe().scheduler().class_name() : drawing.scheduler);
  for (const Spacing& spacing : spacings())
    if (spacing.config == drawing.scheduler_config && spacing.config != "{}") text += cat(", Schedule type: ", spacing.label);
  text += cat(", CFG scale: ", settings.guidance_scale, ", Seed: ", seed, ", Size: ", width, 'x', height, ", Model: ", drawing.model);
  if (drawing.call.clip_skip) text += cat(", Clip skip: ", *drawing.call.clip_skip + 1);  // as A1111 counts
  if (drawing.call.eta != 0) text += cat(", Eta: ", drawing.call.eta);
  if (drawing.call.strength) text += cat(", Denoising strength: ", *drawing.call.strength);
  if (!drawing.loras.empty())
    text += ", Loras: " + joined(drawing.loras, " ", [](const LoraChoice& lora) { return cat(lora.name, ':', lora.weight); });
  return text + cat(", Version: Vivace ", VIVACE_VERSION);
}

Engine::Engine(Models& models, Metrics& metrics, const EngineLimits& limits)
    : models_(models), metrics_(metrics), limits_(limits), queue_(limits.queue, limits.queue_of_a_client, limits.queue_bytes), thread_([this] {
        run();
      }) {}

Engine::~Engine() {
  close();
  thread_.join();
}

void Engine::check_size(int64_t height, int64_t width) const {
  if (height * width > limits_.pixels)
    throw FieldError("size", cat("size: the picture would have ", width, " x ", height, " pixels: expected at most ", limits_.pixels));
}

void Engine::submit(std::shared_ptr<Job> job, bool admitted) {
  const JobQueue::Pushed pushed = queue_.push(std::move(job), admitted);
  if (pushed == JobQueue::Pushed::yes) return;
  const double seconds = std::ceil(std::max(1.0, metrics_.job_seconds()) * static_cast<double>(queue_.size() + 1));
  const int retry_after = static_cast<int>(std::min(seconds, 3600.0));
  if (pushed == JobQueue::Pushed::closed) throw Refusal{{503, kShuttingDown, ""}, retry_after};
  const char* whose = pushed == JobQueue::Pushed::full ? "" : pushed == JobQueue::Pushed::full_of_pictures ? " of pictures" : " for this client";
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
  for (const auto& job : running())
    if (limits_.job_seconds > 0 && since(job->started()) > limits_.job_seconds)
      job->cancel({504, cat("the job took longer than the ", limits_.job_seconds, " s that this server gives one"), ""});
}

Engine::Jobs Engine::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

void Engine::run() {
  for (Jobs jobs = queue_.take(limits_.batch); !jobs.empty(); jobs = queue_.take(limits_.batch)) {
    // Begun before anybody can see them as running, so that they have a time to be measured from.
    for (const auto& job : jobs) job->start();
    {
      const std::lock_guard lock(mutex_);
      running_ = jobs;
    }
    draw(jobs);
    models_.keep_within_budget(jobs.front()->drawing.model);
    for (const auto& job : jobs) metrics_.job(job->status().state, job->seconds_waited(), since(job->started()));
    const std::lock_guard lock(mutex_);
    running_.clear();
  }
}

void Engine::draw(const Jobs& jobs) {
  try {
    draw_all(jobs);
  } catch (const Interrupted&) {  // all of them were cancelled
  } catch (...) {
    for (const auto& job : jobs) job->fail(failure_of_exception());
  }
  for (const auto& job : jobs) job->end();
}

void Engine::draw_all(const Jobs& jobs) {
  const Job& first = *jobs.front();
  const auto model = models_.load(first.drawing.model, first.task);
  model->use_scheduler(first.drawing.scheduler, first.drawing.scheduler_config);
  use_loras(*model, first.drawing);
  CallOptions call = model->fitted(first.call());
  const LoadedModel::Settings settings = model->settings(first.drawing.prompt, call);
  check_size(settings.height, settings.width);  // which the request did not have to say, and nobody knew before the model was there
  if (!call.num_inference_steps && first.drawing.steps_share < 1)
    call.num_inference_steps = std::max(1, static_cast<int>(std::lround(first.drawing.steps_share * settings.steps)));
  std::vector<Wanted> wanted;
  for (const auto& job : jobs)
    for (const uint64_t seed : job->drawing.seeds) wanted.push_back({job.get(), seed});
  const size_t at_once = first.kind.empty() ? 1 : limits_.batch;
  while (!wanted.empty()) {
    const size_t count = std::min(at_once, wanted.size());
    draw_batch(*model, call, std::span(wanted).first(count));
    wanted.erase(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(count));
    std::erase_if(wanted, [](const Wanted& w) { return w.job->interrupted() || w.job->stop().stop_requested(); });
  }
}

// Pictures that one call draws.
struct Engine::Batch {
  LoadedModel& model;
  LoadedModel::Settings settings;
  std::span<const Wanted> wanted;
  std::vector<std::pair<Job*, size_t>> jobs = {};  // each with its first picture
  std::stop_token stop = {};
  int partial = 0;
  Clock::time_point last_preview = Clock::now();
  double preview_seconds = 0;  // that the last one took

  size_t pictures_of(const Job* job) const { return static_cast<size_t>(std::ranges::count(wanted, job, &Wanted::job)); }
};

void Engine::draw_batch(LoadedModel& model, const CallOptions& options, std::span<const Wanted> wanted) {
  Batch batch{.model = model, .settings = model.settings(wanted.front().job->drawing.prompt, options), .wanted = wanted};
  CallOptions call = options;
  Prompts prompts;
  if (call.negative_prompt) call.negative_prompt->clear();
  // The call stops once all of its jobs are to be stopped.
  std::stop_source stop;
  std::atomic<size_t> going = 0;
  const auto one_less = [&] {
    if (--going == 0) stop.request_stop();
  };
  for (size_t i = 0; i < wanted.size(); ++i) {
    Job& job = *wanted[i].job;
    prompts.push_back(job.drawing.prompt);
    call.seeds.push_back(wanted[i].seed);
    if (call.negative_prompt) call.negative_prompt->push_back(job.drawing.call.negative_prompt->front());
    if (std::ranges::count(batch.jobs, &job, [](const auto& entry) { return entry.first; }) == 0) batch.jobs.emplace_back(&job, i);
  }
  going = batch.jobs.size();
  std::deque<std::stop_callback<decltype(one_less)>> stops;
  for (const auto& [job, index] : batch.jobs) stops.emplace_back(job->stop(), one_less);
  call.stop = batch.stop = stop.get_token();
  call.callback_on_step_end = [&](const DiffusionPipeline& pipe, int step, float, StepState& state) { after_step(batch, pipe, step, state); };
  call.callback_on_step_end_tensor_inputs.clear();  // previews ask for them
  const PipelineOutput out = model.pipe()(prompts, call);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto& [job, seed] = wanted[i];
    if (job->stop().stop_requested()) continue;
    const Image& image = out.images.at(i);
    const auto row = static_cast<int64_t>(i);
    if (!call.padding_mask_crop) model.previews().learn(out.latents.rows(row, row + 1), image);  // whose latents are a part's
    job->add_picture(encoded(image, job->drawing.format, job->drawing.quality, seed,
                             settings_text(job->drawing, model, batch.settings, seed, image.height(), image.width())));
    metrics_.picture();
  }
}

void Engine::after_step(Batch& batch, const DiffusionPipeline& pipe, int step, StepState& state) {
  metrics_.step(state.seconds);
  const int done = step + 1, steps = state.num_timesteps;
  bool all_skip = true;
  for (const auto& [job, index] : batch.jobs) {
    if (job->stop().stop_requested()) {
      job->end();  // the others go on
      continue;
    }
    job->set_step(done, steps, state.seconds, batch.pictures_of(job));
    all_skip &= batch.jobs.size() == 1 ? job->take_skip() : job->interrupted();
  }
  if (all_skip) state.interrupt = true;
  if (done == steps || state.interrupt) return;
  const bool is_time = since(batch.last_preview) >= std::max(limits_.preview_seconds, kPreviewShare * batch.preview_seconds);
  for (const auto& [job, index] : batch.jobs) {
    const bool due = done * (job->drawing.partial_images + 1) / steps > batch.partial;  // of a job that is drawn alone
    if (!due && !(job->watched() && is_time)) continue;
    if (due) ++batch.partial;
    const Clock::time_point begin = Clock::now();
    const auto row = static_cast<int64_t>(index);
    const Image preview =
        batch.model.previews().preview(pipe, state.look().rows(row, row + 1), batch.settings.height, batch.settings.width, batch.stop);
    job->set_preview(encoded(preview, Format::png, 0, batch.wanted[index].seed, ""));
    batch.last_preview = Clock::now();
    batch.preview_seconds = since(begin);
  }
}

}  // namespace vivace::server
