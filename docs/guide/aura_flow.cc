// AuraFlow: one plan for pictures of any size
#include <vivace/vivace.h>

#include <cstdio>
using namespace vivace;

int main() {
  auto pipeline = AuraFlowPipeline::from_pretrained("AuraFlow", {.dtype = bfloat16});
  pipeline.transformer().compile({.mode = CompileMode::default_, .fullgraph = true, .dynamic = true, .use_duck_shape = false});

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  for (int64_t size : {1024, 768, 512}) {
    auto output = pipeline(prompt, {.height = size, .width = 1024, .num_inference_steps = 4});
    std::printf("%lld x 1024: %lld plans compiled\n", static_cast<long long>(size), static_cast<long long>(output.counters.plans_compiled));
    output.images[0].save("astronaut.png");
  }
}
