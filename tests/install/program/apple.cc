// A user's program, which hides its own symbols: the settings it makes are the library's, and errors are caught by their types.
#include <vivace/vivace.h>

#include <cstdlib>
#include <cstring>

int main(int, char** argv) {
  if (std::strcmp(vivace::version(), VIVACE_VERSION) != 0) return 2;
  try {
    vivace::Image::load("no-such.png");
    return 3;
  } catch (const vivace::UserError&) {
  }
  vivace::set_float32_matmul_precision("high");
  if (!vivace::backends::cuda::matmul::allow_tf32 || vivace::CompileOptions().float32_matmul_precision != vivace::MatmulPrecision::high) return 4;
  auto pipe = vivace::StableDiffusionXLPipeline::from_pretrained(MODEL, {.dtype = vivace::bfloat16});
  vivace::DiffusionPipeline moved = std::move(pipe);
  auto image = moved("a red apple", {.num_inference_steps = 3, .seed = 100}).images[0];
  image.save(argv[1]);
}
