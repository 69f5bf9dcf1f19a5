# torch.compile: the compiler's flags
from vivace import StableDiffusionXLPipeline, set_compiler_flag

set_compiler_flag("conv_1x1_as_mm", True)
set_compiler_flag("coordinate_descent_tuning", True)
set_compiler_flag("epilogue_fusion", False)
set_compiler_flag("coordinate_descent_check_all_directions", True)

pipeline = StableDiffusionXLPipeline.from_pretrained("stable-diffusion-xl-base-1.0", torch_dtype="float16")
pipeline.unet.compile(mode="max-autotune", fullgraph=True)
pipeline.vae.compile_decode(mode="max-autotune", fullgraph=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
image = pipeline(prompt, num_inference_steps=30).images[0]
image.save("astronaut.png")
