# Schedulers: fewer steps with a solver of higher order
from vivace import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

pipeline = StableDiffusionXLPipeline.from_pretrained("stable-diffusion-xl-base-1.0", torch_dtype="bfloat16")
pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
image = pipeline(prompt, num_inference_steps=20).images[0]
image.save("astronaut.png")
