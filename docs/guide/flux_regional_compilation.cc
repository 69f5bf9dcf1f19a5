// FLUX: each kind of its repeated blocks is compiled once
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = FluxPipeline::from_pretrained("FLUX.1-schnell", {.dtype = bfloat16});
  pipeline.transformer().compile_repeated_blocks({.mode = CompileMode::default_, .fullgraph = true});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.height = 512, .width = 512, .num_inference_steps = 4, .guidance_scale = 0, .max_sequence_length = 256}).images[0];
  image.save("astronaut.png");
}
