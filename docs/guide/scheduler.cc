// Schedulers: fewer steps with a solver of higher order
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = bfloat16});
  pipeline.set_scheduler(DPMSolverMultistepScheduler::from_config(pipeline.scheduler().config(), R"({"use_karras_sigmas": true})"));

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.num_inference_steps = 20}).images[0];
  image.save("astronaut.png");
}
