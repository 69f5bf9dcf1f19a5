// GPU sync: sigmas stay on the host, so that no step waits for a device; a call counts its waits
#include <vivace/vivace.h>

#include <cstdio>
using namespace vivace;

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.dtype = bfloat16});
  pipeline.unet().compile({.mode = CompileMode::max_autotune, .fullgraph = true});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto output = pipeline(prompt, {.num_inference_steps = 30});
  output.images[0].save("astronaut.png");
  std::printf("syncs in the loop: %d, allocations: %d\n", static_cast<int>(output.counters.loop_host_device_syncs),
              static_cast<int>(output.counters.loop_allocations));
  return output.counters.loop_host_device_syncs == 0 ? 0 : 1;
}
