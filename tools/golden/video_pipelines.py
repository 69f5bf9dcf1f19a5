"""Golden files for whole calls of the video pipelines: CogVideoX 1.0 and 1.5, from text, from a picture and from a video.

    python tools/golden/video_pipelines.py [NAME...]          writes tests/video_pipelines/data, of all cases or of these

In fp32 on the CPU, on tiny checkpoints with weights by the rule in weights.py. Formats: README.md in this folder; `frames` are [N, F, H, W, 3] in 0..1. `image`
in a call names a PNG of the folder, `video` a folder of frames.
"""

import sys
from pathlib import Path

from golden_file import GoldenWriter, keep_quiet, library_versions
from pipelines import write_configs
from random_calls import ROOT, random_checkpoint, run_case, save_picture, write_pictures
from transformer_components import LEARNED, ROTARY, cogvideox_config, t5_config

DATA = ROOT / "tests" / "video_pipelines" / "data"

DDIM = {"_class_name": "CogVideoXDDIMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False, "num_train_timesteps": 1000,
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "set_alpha_to_one": True, "snr_shift_scale": 3.0, "steps_offset": 0, "timestep_spacing": "trailing"}
DPM = {**DDIM, "_class_name": "CogVideoXDPMScheduler", "snr_shift_scale": 1.0}
VAE = {"_class_name": "AutoencoderKLCogVideoX", "block_out_channels": [8, 8, 8, 8], "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2, "sample_height": 32,
       "sample_width": 48, "scaling_factor": 0.7}


def checkpoint(pipeline: str, scheduler: dict, vae: dict = VAE, **transformer) -> dict:
    index = {"_class_name": pipeline, "scheduler": ["diffusers", scheduler["_class_name"]], "text_encoder": ["transformers", "T5EncoderModel"],
             "tokenizer": ["transformers", "T5Tokenizer"], "transformer": ["diffusers", "CogVideoXTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    return {"model_index.json": index, "scheduler/scheduler_config.json": scheduler, "text_encoder/config.json": t5_config(vocab_size=1600),
            "transformer/config.json": cogvideox_config(**{"max_text_seq_length": 16, **transformer}), "vae/config.json": vae}


TEXT, IMAGE, VIDEO = "CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline"
NEW = {**ROTARY, "patch_size_t": 2, "patch_bias": False, "sample_width": 8, "sample_height": 8, "sample_frames": 17}
CLIPS = {"clip": range(9), "late": range(40, 49), "clip_8": range(8)}  # times of the frames
INVERTED = {**VAE, "invert_scale_latents": True}
CONFIGS = {
    "2b": checkpoint(TEXT, DDIM, max_text_seq_length=226),  # the default of max_sequence_length
    "5b": checkpoint(TEXT, DPM, **ROTARY, num_layers=3),
    "1.5": checkpoint(TEXT, DPM, INVERTED, **NEW),
    "i2v": checkpoint(IMAGE, {**DDIM, "snr_shift_scale": 1.0}, **LEARNED, max_text_seq_length=226),
    "1.5_i2v": checkpoint(IMAGE, DPM, INVERTED, **NEW, in_channels=8, ofs_embed_dim=8),
}


def embeds(seed: int, *shape: int) -> dict:
    return {"randn_seed": seed, "shape": [1, *shape]}


def case(name: str, model: str, pipeline: str | None = None, **call) -> dict:
    defaults = {"prompt": "a panda plays the guitar", "height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 4, "max_sequence_length": 16, "generator": {"seed": 0}}
    if CONFIGS[model]["model_index.json"]["_class_name"] == IMAGE:
        defaults |= {"image": "wide.png", "num_inference_steps": 2}
    if CONFIGS[model]["transformer/config.json"]["max_text_seq_length"] == 226:
        del defaults["max_sequence_length"]
    return {"name": name, "pipeline": pipeline or CONFIGS[model]["model_index.json"]["_class_name"], "checkpoint": f"configs/{model}", "weights_seed": 0,
            "call": {k: v for k, v in {**defaults, **call}.items() if v is not None}}


CASES = [
    case("2b", "2b"),
    case("2b_own_size", "2b", height=None, width=None, num_frames=None, num_inference_steps=2),
    case("2b_one_frame", "2b", num_frames=1, height=48, width=32),
    case("2b_8_frames", "2b", num_frames=5, num_inference_steps=2),
    case("2b_frames_between", "2b", num_frames=12, num_inference_steps=2),
    case("2b_17_frames", "2b", num_frames=17, height=16, width=16, num_inference_steps=2),
    case("2b_no_guidance", "2b", guidance_scale=1.0, num_inference_steps=2),
    case("2b_negative", "2b", negative_prompt="blue", guidance_scale=2.5, num_inference_steps=3),
    case("2b_batch", "2b", prompt=["a dog", "a cat"], negative_prompt=["blue", ""], num_inference_steps=2, guidance_scale=3.0),
    case("2b_generators", "2b", prompt=["a dog", "a cat"], num_inference_steps=2, generator={"seeds": [3, 4]}),
    case("2b_embeds", "2b", prompt=None, prompt_embeds=embeds(1, 226, 32), negative_prompt_embeds=embeds(2, 226, 32), num_inference_steps=2),
    case("2b_latent", "2b", output_type="latent", num_inference_steps=2),
    case("2b_given_latents", "2b", latents={"randn_seed": 7, "shape": [1, 3, 4, 4, 6]}, num_inference_steps=2),
    case("2b_dynamic_cfg", "2b", use_dynamic_cfg=True, num_inference_steps=5),
    case("5b", "5b", use_dynamic_cfg=True),
    case("5b_tall", "5b", height=64, width=32, max_sequence_length=11, num_inference_steps=3),
    case("5b_no_guidance", "5b", guidance_scale=0.5, num_inference_steps=3),
    case("1.5", "1.5", num_frames=17),
    case("1.5_9_frames", "1.5", use_dynamic_cfg=True, num_inference_steps=3),
    case("1.5_even", "1.5", num_frames=13, height=64, width=64, num_inference_steps=2),
    case("1.5_latent", "1.5", output_type="latent", num_inference_steps=2),
    case("i2v", "i2v"),
    case("i2v_17_frames", "i2v", num_frames=17, use_dynamic_cfg=True),
    case("i2v_batch", "i2v", prompt=["a dog", "a cat"], image=["wide.png", "square.png"], guidance_scale=2.0),
    case("i2v_generators", "i2v", prompt=["a dog", "a cat"], image=["wide.png", "square.png"], generator={"seeds": [3, 4]}),
    case("1.5_i2v", "1.5_i2v", num_frames=17, num_inference_steps=3),
    case("1.5_i2v_9_frames", "1.5_i2v", guidance_scale=1.0),
    case("video", "2b", pipeline=VIDEO, video="clip", num_frames=None),
    case("video_short", "5b", pipeline=VIDEO, video="clip", num_frames=None, strength=0.5, use_dynamic_cfg=True, height=64),
    case("video_batch", "2b", pipeline=VIDEO, prompt=["a dog", "a cat"], video=["clip", "late"], num_frames=None, num_inference_steps=3, strength=1.0),
    case("video_generators", "5b", pipeline=VIDEO, prompt=["a dog", "a cat"], video=["clip", "late"], num_frames=None, num_inference_steps=3, generator={"seeds": [3, 4]}),
    case("video_1.5", "1.5", pipeline=VIDEO, video="clip_8", num_frames=None, num_inference_steps=3),
    case("video_latents", "2b", pipeline=VIDEO, latents={"randn_seed": 7, "shape": [1, 3, 4, 4, 6]}, num_frames=None),
]


def make_checkpoint(item: dict, folder: Path) -> Path:
    return random_checkpoint(DATA / item["checkpoint"], {"tokenizer": "assets/emoji-flux/tokenizer_2"}, item["weights_seed"], folder)


def main() -> None:
    keep_quiet()
    names = sys.argv[1:]
    if not names:
        write_configs(DATA, CONFIGS)
        write_pictures(DATA)
        for clip, times in CLIPS.items():
            for i, time in enumerate(times, 1):
                save_picture(DATA / clip / f"frame_{i:04}.png", 12, 20, time)
    writer = GoldenWriter(DATA, keep=bool(names))
    for item in CASES:
        if names and item["name"] not in names:
            continue
        writer.add(item, run_case(item, DATA, make_checkpoint), 640)
        print(f"{item['name']:24}", " ".join(f"{k} {v['shape']} rms {v['rms']:.3f}" for k, v in writer.cases[-1]["outputs"].items()), flush=True)
    writer.finish("tools/golden/video_pipelines.py", library_versions())


if __name__ == "__main__":
    main()
