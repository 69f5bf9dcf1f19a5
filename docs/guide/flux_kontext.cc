// FLUX Kontext: a picture, and what is to be changed in it
#include <vivace/vivace.h>
using namespace vivace;

int main() {
  auto pipeline = FluxKontextPipeline::from_pretrained("FLUX.1-Kontext-dev", {.dtype = bfloat16, .compile = {.mode = CompileMode::default_}});

  auto image = Image::load("cat.png");
  // Without max_area and auto_resize the picture would be read, and made, with about 1024 x 1024 pixels.
  auto edited =
      pipeline(
          "add a hat to the cat",
          {.height = 256, .width = 256, .num_inference_steps = 8, .guidance_scale = 2.5, .image = image, .max_area = 256 * 256, .auto_resize = false})
          .images[0];
  edited.save("astronaut.png");
}
