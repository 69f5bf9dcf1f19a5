// CogVideoX: a video; the decoder works in tiles, what repeats in the transformer is compiled once
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = CogVideoXPipeline::from_pretrained("CogVideoX-2b", {.dtype = bfloat16});
  pipeline.vae().enable_tiling();
  pipeline.transformer().compile_regions({.mode = CompileMode::default_, .fullgraph = true});

  auto prompt = "A panda, dressed in a small, red jacket and a tiny hat, sits on a wooden stool in a serene bamboo forest and plays the guitar";
  auto video = pipeline(prompt, {.num_inference_steps = 4, .guidance_scale = 6, .num_frames = 49}).frames[0];
  video.save("panda.mp4", {.fps = 8});
}
