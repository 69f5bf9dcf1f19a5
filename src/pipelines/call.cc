// The call: what the family's recipe says, around the one loop.
#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "families/common/arguments.h"
#include "pipelines/denoise_loop.h"
#include "pipelines/loaded.h"
#include "pipelines/memory_plan.h"
#include "pipelines/scheduler_check.h"
#include "pipelines/shared_start.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// After a prediction that is no number: damaged weights are the likely cause, and a better message.
void check_denoisers(const Parts& parts, const std::vector<SessionNeed>& needs) {
  for (const SessionNeed& need : needs)
    if (need.stage == Stage::denoise) parts.model(need.part).component().weights().files().check_finite();
}

// A device that records what a step does has room for other numbers of steps in the plan's table, so that they find it again.
int64_t rows_of(const DiffusionPipeline::Loaded& loaded, int64_t timesteps) {
  constexpr int64_t kRows = 32;
  const Component& denoiser = loaded.parts.model(denoiser_of(*loaded.family)).component();
  return denoiser.device().target().records ? (timesteps + kRows - 1) / kRows * kRows : timesteps;
}

}  // namespace

PipelineOutput DiffusionPipeline::operator()(const Prompts& prompt, const CallOptions& options) const {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  const auto begin = Clock::now();
  Request request(options.stop, sdpa_kernel::current());
  const Recipe& recipe = *loaded_->recipe;
  const std::unique_ptr<Scheduler> scheduler = loaded_->parts.scheduler->clone();  // the pipeline's own serves other calls too
  Call call = recipe.resolve(prompt, options);
  for (const std::string& unused : unused_arguments(call)) warn(unused);
  check_scheduler(*loaded_, *scheduler);
  if (loaded_->ranks) {
    if (!call.guidance)
      throw UsageError(cat("this call has no guidance (guidance_scale is ", call.guidance_scale,
                           "): a second process has nothing to do in it, expected --parallel prompts"));
    call.ranks = loaded_->ranks;
  }
  Noise noise(options, call.images);
  PipelineOutput out;
  // The scheduler first: a wrong number of steps must not cost an encoded prompt.
  scheduler->set_timesteps(recipe.timesteps(call));
  const StepRange steps = recipe.steps(call, *scheduler);
  call.timesteps = std::max(steps.last, 1);  // a call may take none, a plan at least one
  call.rows = rows_of(*loaded_, call.timesteps);
  auto mark = Clock::now();
  CallMemory memory(*loaded_, call, request);
  memory.begin(Stage::encode);
  Conditioning conditioning = recipe.encode(call, request);
  out.timings.encode_prompt = since(mark);

  mark = Clock::now();
  Start start = recipe.start(call, conditioning, *scheduler, steps, noise, request);
  if (call.ranks) share_start(*loaded_, call, *scheduler, noise, conditioning, start, request);
  memory.begin(Stage::denoise);
  std::unique_ptr<Predictor> predictor = recipe.predictor(call, conditioning, *scheduler, request);
  out.timings.prepare = since(mark);

  DenoiseRequest loop{.predictor = predictor.get(),
                      .request = &request,
                      .scheduler = scheduler.get(),
                      .first_step = steps.first,
                      .last_step = steps.last,
                      .latents = std::move(start.latents),
                      .generators = noise.generators(),
                      .kept = std::move(start.kept),
                      .on_step_end = nullptr,
                      .gives_latents = !options.callback_on_step_end_tensor_inputs.empty()};
  if (options.callback_on_step_end)
    loop.on_step_end = [&](int step, float t, StepState& state) { options.callback_on_step_end(*this, step, t, state); };
  try {
    DenoiseResult result = denoise(std::move(loop));
    out.latents = std::move(result.latents);
    out.timings.steps = std::move(result.seconds);
    out.counters.loop_allocations = result.allocations;
    out.counters.loop_host_device_syncs = result.host_device_syncs;
    out.counters.loop_break = std::move(result.loop_break);
  } catch (const NotFinite&) {
    check_denoisers(loaded_->parts, recipe.sessions_for(call));
    throw;
  }
  predictor.reset();  // its sessions are for others while this one decodes
  mark = Clock::now();
  memory.begin(Stage::decode);
  if (!options.output_latent) {
    Pictures made = recipe.decode(call, out.latents, request);
    out.images = std::move(made.images);
    out.frames = std::move(made.frames);
  }
  memory.end();
  out.timings.decode = since(mark);
  out.seeds = noise.seeds();
  out.counters.plans_compiled = request.counters.plans_compiled;
  out.counters.plans_resized = request.counters.plans_resized;
  out.counters.guards_failed = request.counters.guards_failed;
  out.counters.parts_given_back = request.counters.parts_given_back;
  out.timings.total = since(begin);
  return out;
}

}  // namespace vivace
