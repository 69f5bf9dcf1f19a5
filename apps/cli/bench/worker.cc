#include "bench/worker.h"

#include <cstdio>

#include "base/json.h"
#include "output.h"
#include "pipelines/loaded.h"

namespace vivace::cli {
namespace {

void answer_line(const nlohmann::json& value) { print(json_text(value) + "\n"); }

void print_values(const Tensor& values) {
  const std::span<const float> floats = values.floats();
  print(std::string(reinterpret_cast<const char*>(floats.data()), floats.size_bytes()));
}

// A prompt's picture, or its video's frames, and its latents after each step.
void send_picture(DiffusionPipeline& pipe, CallOptions call, const std::string& prompt, uint64_t seed) {
  std::vector<Tensor> latents;
  call.seed = seed;
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState& state) {
    latents.push_back(state.latents.reshape({1, state.latents.numel()}).clone());
  };
  const std::vector<Image> pictures = pictures_of(pipe(prompt, call));
  const Tensor all = concat_rows(latents);
  answer_line({{"image", pictures[0].tensor().shape()}, {"images", pictures.size()}, {"latents", all.shape()}});
  for (const Image& picture : pictures) print_values(picture.tensor());
  print_values(all);
}

}  // namespace

int bench_worker(const PictureOptions& options, const std::vector<std::string>& prompts, uint64_t seed, bool send) {
  CallOptions call = options.call();
  call.seed = seed;
  DiffusionPipeline pipe = options.load();
  steps_timed(pipe(prompts[0], call));
  answer_line({{"first", true}});
  const PipelineOutput warm = pipe(prompts[0], call);
  const std::vector<Image> pictures = pictures_of(warm);
  answer_line({{"seconds", warm.timings.total},
               {"steps", warm.timings.steps},
               {"peak_resident_bytes", peak_resident_bytes()},
               {"height", pictures[0].height()},
               {"width", pictures[0].width()},
               {"frames", warm.frames.empty() ? 0 : warm.frames[0].frames()},
               {"scheduler", pipe.scheduler().class_name()},
               {"guidance_scale", pipe.loaded().recipe->resolve(prompts[0], call).guidance_scale}});
  if (send)
    for (size_t i = 0; i < prompts.size(); ++i) send_picture(pipe, call, prompts[i], seed + i);
  return 0;
}

}  // namespace vivace::cli
