// Regional compilation: each kind of the UNet's repeated blocks is compiled once
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = float16});
  pipeline.unet().compile_repeated_blocks({.mode = CompileMode::default_, .fullgraph = true});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.num_inference_steps = 30}).images[0];
  image.save("astronaut.png");
}
