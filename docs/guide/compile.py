# torch.compile
from vivace import StableDiffusionXLPipeline

pipeline = StableDiffusionXLPipeline.from_pretrained("stable-diffusion-xl-base-1.0", torch_dtype="float16")
pipeline.unet.compile(mode="max-autotune", fullgraph=True)
pipeline.vae.compile(mode="max-autotune", fullgraph=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
image = pipeline(prompt, num_inference_steps=30).images[0]
image.save("astronaut.png")
