// Dynamic quantization
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  config.force_fuse_int_mm_with_mul = true;
  config.use_mixed_mm = true;

  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = bfloat16});
  apply_dynamic_quant(pipeline.unet(), dynamic_quant_filter_fn);
  apply_dynamic_quant(pipeline.vae(), dynamic_quant_filter_fn);
  pipeline.unet().compile({.mode = CompileMode::max_autotune, .fullgraph = true});
  pipeline.vae().compile({.mode = CompileMode::max_autotune, .fullgraph = true});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto image = pipeline(prompt, {.num_inference_steps = 30}).images[0];
  image.save("astronaut.png");
}
