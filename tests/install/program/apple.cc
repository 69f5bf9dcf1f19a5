#include <vivace/vivace.h>

int main(int, char** argv) {
  auto pipe = vivace::StableDiffusionXLPipeline::from_pretrained(MODEL, {.dtype = vivace::bfloat16});
  auto image = pipe("a red apple", {.num_inference_steps = 3, .seed = 100}).images[0];
  image.save(argv[1]);
}
