// Fused projection matrices
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = bfloat16});
  pipeline.fuse_qkv_projections();

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.num_inference_steps = 30}).images[0];
  image.save("astronaut.png");
}
