// torch.compile: the compiler's flags
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  config.conv_1x1_as_mm = true;
  config.coordinate_descent_tuning = true;
  config.epilogue_fusion = false;
  config.coordinate_descent_check_all_directions = true;

  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = float16});
  pipeline.unet().compile({.mode = CompileMode::max_autotune, .fullgraph = true});
  pipeline.vae().compile_decode({.mode = CompileMode::max_autotune, .fullgraph = true});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.num_inference_steps = 30}).images[0];
  image.save("astronaut.png");
}
