"""Golden files for whole calls of the transformer pipelines: FLUX, FLUX Kontext, image to image, AuraFlow.

    python tools/golden/transformer_pipelines.py [NAME...]          writes tests/transformer_pipelines/data, of all cases or of these

In fp32 on the CPU, on tiny checkpoints with weights by the rule in weights.py and on assets/emoji-flux. Formats: README.md in this folder. Cases on emoji-flux
keep the latents after every step ("latents.0" ...), since its pictures hardly show what a sampler does wrong. `image` in a call names a PNG of the folder.
"""

import sys
from pathlib import Path

from components import text_config, vae_config
from golden_file import GoldenWriter, keep_quiet, library_versions
from pipelines import write_configs
from random_calls import ROOT, random_checkpoint, run_case, write_pictures
from transformer_components import aura_config, flux_config, t5_config

DATA = ROOT / "tests" / "transformer_pipelines" / "data"
EMOJI = "assets/emoji-flux"
TOKENIZERS = {"FluxPipeline": {"tokenizer": f"{EMOJI}/tokenizer", "tokenizer_2": f"{EMOJI}/tokenizer_2"}, "AuraFlowPipeline": {"tokenizer": "tests/tokenizers/data/llama"}}
TOKENIZERS["FluxKontextPipeline"] = TOKENIZERS["FluxImg2ImgPipeline"] = TOKENIZERS["FluxPipeline"]

DEV = {"_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000,
       "shift": 3.0, "use_dynamic_shifting": True}
SCHNELL = {**DEV, "shift": 1.0, "use_dynamic_shifting": False}
SMALL_VAE = vae_config(block_out_channels=[8, 16], norm_num_groups=4, latent_channels=4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)


def flux(pipeline: str, transformer: dict, scheduler: dict = DEV) -> dict:
    index = {"_class_name": pipeline, "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
             "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
             "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"], "feature_extractor": [None, None], "image_encoder": [None, None]}
    text = text_config("CLIPTextModel", vocab_size=1536, hidden_size=24, intermediate_size=48, num_attention_heads=2, num_hidden_layers=2, projection_dim=24)
    return {"model_index.json": index, "scheduler/scheduler_config.json": scheduler, "text_encoder/config.json": text,
            "text_encoder_2/config.json": t5_config(vocab_size=1600), "transformer/config.json": flux_config(**transformer), "vae/config.json": SMALL_VAE}


def of_flows(scheduler: str) -> dict:
    """FluxPipeline with a solver that makes the sigmas of a flow itself."""
    files = flux("FluxPipeline", {}, {**DEV, "_class_name": scheduler, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "time_shift_type": "exponential"})
    files["model_index.json"]["scheduler"] = ["diffusers", scheduler]
    return files


CONFIGS = {
    "dev": flux("FluxPipeline", {}),
    "dev_unipc": of_flows("UniPCMultistepScheduler"),
    "dev_dpm": of_flows("DPMSolverMultistepScheduler"),
    "schnell": flux("FluxPipeline", {"guidance_embeds": False}, SCHNELL),
    "kontext": flux("FluxKontextPipeline", {}),
    "img2img": flux("FluxImg2ImgPipeline", {}),
    "aura": {
        "model_index.json": {"_class_name": "AuraFlowPipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "UMT5EncoderModel"],
                             "tokenizer": ["transformers", "LlamaTokenizerFast"], "transformer": ["diffusers", "AuraFlowTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]},
        "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.73},
        "text_encoder/config.json": t5_config("umt5", vocab_size=912),
        "transformer/config.json": aura_config(pos_embed_max_size=256),
        "vae/config.json": vae_config(block_out_channels=[8, 16], norm_num_groups=4, latent_channels=4),
    },
}

LONG = "a small red house with a green garden and a blue sky, " * 12


def embeds(seed: int, *shape: int) -> dict:
    """Embeddings of one prompt, as an input described in README.md."""
    return {"randn_seed": seed, "shape": [1, *shape]}


def case(name: str, checkpoint: str, **call) -> dict:
    made = EMOJI if checkpoint == EMOJI else f"configs/{checkpoint}"
    defaults = {"prompt": "a red apple", "height": 32, "width": 48, "num_inference_steps": 4, "max_sequence_length": 16, "generator": {"seed": 0}}
    if checkpoint == EMOJI:
        defaults |= {"height": 128, "width": 128, "max_sequence_length": 64}
    pipeline = CONFIGS[checkpoint]["model_index.json"]["_class_name"] if checkpoint in CONFIGS else "FluxPipeline"
    return {"name": name, "pipeline": pipeline, "checkpoint": made, "weights_seed": 0, "call": {k: v for k, v in {**defaults, **call}.items() if v is not None}}


KONTEXT = {"height": 32, "width": 32, "max_area": 1024, "num_inference_steps": 2, "guidance_scale": 2.5}
CASES = [
    case("dev", "dev"),
    case("dev_guidance_1", "dev", guidance_scale=1.0, num_inference_steps=2),
    case("dev_odd_size", "dev", height=39, width=54, num_inference_steps=2),
    case("dev_one_step", "dev", num_inference_steps=1, prompt_2="blue"),
    case("dev_sigmas", "dev", sigmas=[1.0, 0.7, 0.2], num_inference_steps=3),
    case("dev_flow_unipc", "dev_unipc"),
    case("dev_flow_dpm", "dev_dpm"),
    case("dev_long_prompt", "dev", prompt=LONG, num_inference_steps=2),
    case("dev_empty_prompt", "dev", prompt="", num_inference_steps=2),
    case("dev_batch", "dev", prompt=["a dog", "a cat"], num_images_per_prompt=2, num_inference_steps=2),
    case("dev_generators", "dev", prompt=["a dog", "a cat"], num_inference_steps=2, generator={"seeds": [3, 4]}),
    case("dev_true_cfg", "dev", negative_prompt="blue", true_cfg_scale=2.5),
    case("dev_true_cfg_batch", "dev", prompt=["a dog", "a cat"], negative_prompt=["blue", ""], negative_prompt_2="green", true_cfg_scale=1.5, num_inference_steps=2),
    case("dev_true_cfg_off", "dev", negative_prompt="blue", num_inference_steps=2),
    case("dev_latent", "dev", output_type="latent", num_inference_steps=2),
    case("dev_embeds", "dev", prompt=None, prompt_embeds=embeds(1, 12, 32), pooled_prompt_embeds=embeds(2, 24), num_inference_steps=2),
    case("dev_latents", "dev", prompt=["a dog", "a cat"], latents={"randn_seed": 6, "shape": [2, 96, 16]}, num_inference_steps=2),
    case("schnell", "schnell", guidance_scale=0.0),
    case("schnell_true_cfg", "schnell", negative_prompt="", true_cfg_scale=3.0, num_inference_steps=3),
    case("kontext_text_alone", "kontext", **KONTEXT),
    case("kontext_size_from_area", "kontext", **{**KONTEXT, "height": 40, "width": 90}),
    case("kontext_image", "kontext", **KONTEXT, image="square.png", _auto_resize=False),
    case("kontext_image_other_ratio", "kontext", **KONTEXT, image="wide.png", _auto_resize=False, prompt=["a dog", "a cat"]),
    case("kontext_true_cfg", "kontext", **KONTEXT, image="square.png", _auto_resize=False, negative_prompt="blue", true_cfg_scale=2.0),
    case("img2img", "img2img", height=32, width=32, image="square.png", strength=0.6),
    case("img2img_resized", "img2img", height=32, width=48, image="wide.png", strength=0.9, num_inference_steps=3),
    case("aura", "aura", height=32, width=32),
    case("aura_no_guidance", "aura", height=16, width=40, guidance_scale=1.0, prompt="a dog"),
    case("aura_negative", "aura", height=48, width=32, negative_prompt="blue", num_images_per_prompt=2, num_inference_steps=3),
    case("aura_batch", "aura", height=16, width=16, prompt=["a dog", "a cat, " + LONG], num_inference_steps=2),
    case("aura_embeds", "aura", height=16, width=32, prompt=None, prompt_embeds=embeds(3, 12, 32), negative_prompt_embeds=embeds(4, 12, 32), num_inference_steps=2),
    case("aura_embeds_beside_text", "aura", height=16, width=16, prompt=None, prompt_embeds=embeds(5, 10, 32), negative_prompt="blue", num_inference_steps=2),
    case("aura_latents", "aura", height=16, width=24, latents={"randn_seed": 7, "shape": [1, 4, 8, 12]}, num_inference_steps=2),
    case("aura_sigmas", "aura", height=16, width=16, sigmas=[1.0, 0.6, 0.1], num_inference_steps=3, guidance_scale=2.0),
    case("emoji_red_apple", EMOJI),
    case("emoji_rocket", EMOJI, prompt="rocket", generator={"seed": 5}, num_inference_steps=8),
    case("emoji_true_cfg", EMOJI, prompt="a cute panda", negative_prompt="", true_cfg_scale=3.0, num_inference_steps=4),
]


def make_checkpoint(item: dict, folder: Path) -> Path:
    if item["checkpoint"] == EMOJI:
        return ROOT / EMOJI
    return random_checkpoint(DATA / item["checkpoint"], TOKENIZERS[item["pipeline"]], item["weights_seed"], folder)


def main() -> None:
    keep_quiet()
    names = sys.argv[1:]
    if not names:
        write_configs(DATA, CONFIGS)
        write_pictures(DATA)
    writer = GoldenWriter(DATA, keep=bool(names))
    for item in CASES:
        if names and item["name"] not in names:
            continue
        writer.add(item, run_case(item, DATA, make_checkpoint, every_step=item["checkpoint"] == EMOJI), 640)
        print(f"{item['name']:36} latents rms {writer.cases[-1]['outputs']['latents']['rms']:8.3f}", flush=True)
    writer.finish("tools/golden/transformer_pipelines.py", library_versions())


if __name__ == "__main__":
    main()
