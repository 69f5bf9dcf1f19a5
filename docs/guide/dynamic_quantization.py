# Dynamic quantization
from vivace import StableDiffusionXLPipeline, apply_dynamic_quant, dynamic_quant_filter_fn, set_compiler_flag

set_compiler_flag("force_fuse_int_mm_with_mul", True)
set_compiler_flag("use_mixed_mm", True)

pipeline = StableDiffusionXLPipeline.from_pretrained("stable-diffusion-xl-base-1.0", torch_dtype="bfloat16")
apply_dynamic_quant(pipeline.unet, dynamic_quant_filter_fn)
apply_dynamic_quant(pipeline.vae, dynamic_quant_filter_fn)
pipeline.unet.compile(mode="max-autotune", fullgraph=True)
pipeline.vae.compile(mode="max-autotune", fullgraph=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
image = pipeline(prompt, num_inference_steps=30).images[0]
image.save("astronaut.png")
