// FLUX: components give their memory back; prompts are encoded once, for several pictures
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = FluxPipeline::from_pretrained("FLUX.1-schnell", {.dtype = bfloat16});
  pipeline.enable_model_cpu_offload();

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto images =
      pipeline(prompt,
               {.height = 512, .width = 512, .num_inference_steps = 4, .guidance_scale = 0, .num_images_per_prompt = 2, .max_sequence_length = 256})
          .images;
  images[0].save("astronaut.png");
}
