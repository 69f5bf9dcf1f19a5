# FLUX: bfloat16, products of 8 bits, fused projections, transformer and decoder compiled whole
from vivace import FluxPipeline, apply_dynamic_quant, transformer_quant_filter_fn

pipeline = FluxPipeline.from_pretrained("FLUX.1-schnell", torch_dtype="bfloat16")
pipeline.fuse_qkv_projections()
apply_dynamic_quant(pipeline.transformer, transformer_quant_filter_fn)
pipeline.transformer.compile(mode="max-autotune", fullgraph=True)
pipeline.vae.compile_decode(mode="max-autotune", fullgraph=True)

prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k"
image = pipeline(prompt, height=512, width=512, num_inference_steps=4, guidance_scale=0, max_sequence_length=256).images[0]
image.save("astronaut.png")
