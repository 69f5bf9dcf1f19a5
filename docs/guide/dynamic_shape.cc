// Dynamic shape compilation: one plan for every size
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = bfloat16});
  pipeline.unet().compile({.mode = CompileMode::default_, .fullgraph = true, .dynamic = true, .use_duck_shape = false});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto [height, width] = pipeline.default_size();
  pipeline(prompt, {.height = height, .width = width / 2, .num_inference_steps = 30});
  auto image = pipeline(prompt, {.height = height, .width = width, .num_inference_steps = 20}).images[0];
  image.save("astronaut.png");
}
