// Ahead-of-time compilation: compile once, write a package, run it from then on without building a graph, compiling or packing weights.
#include <vivace/vivace.h>

int main() {
  using namespace vivace;
  {
    auto pipe = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0",
                                                           {.compile = {.mode = CompileMode::max_autotune, .fullgraph = true}});
    export_package(pipe, "sdxl.vivace");
  }
  auto pipe = StableDiffusionXLPipeline::from_pretrained("sdxl.vivace");
  pipe("Astronaut in a jungle, cold color palette, muted colors, detailed, 8k", {.num_inference_steps = 30}).images[0].save("astronaut.png");
}
