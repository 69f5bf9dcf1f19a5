# Dynamic shape compilation: one plan for every size
from vivace import StableDiffusionXLPipeline

pipeline = StableDiffusionXLPipeline.from_pretrained("stable-diffusion-xl-base-1.0", torch_dtype="bfloat16")
pipeline.unet.compile(fullgraph=True, dynamic=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
height, width = pipeline.default_size
pipeline(prompt, height=height, width=width // 2, num_inference_steps=30)
image = pipeline(prompt, height=height, width=width, num_inference_steps=20).images[0]
image.save("astronaut.png")
