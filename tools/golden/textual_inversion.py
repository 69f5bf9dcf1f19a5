"""Golden files for textual inversion: pipeline calls whose prompts have tokens with embeddings of their own.

    python tools/golden/textual_inversion.py          writes tests/pipelines/data/textual_inversion

Runs StableDiffusionXLPipeline in fp32 on the CPU, on a tiny checkpoint of pipelines.py. The embeddings follow the rule in weights.py.
"""

import tempfile
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

from golden_file import GoldenWriter, keep_quiet, library_versions
from pipelines import DATA, make_checkpoint
from weights import random_tensor

CHECKPOINT = {"pipeline": "StableDiffusionXLPipeline", "checkpoint": "configs/sdxl_three_levels", "weights_seed": 0}
CALL = {"num_inference_steps": 2, "guidance_scale": 3.0, "generator": {"seed": 7}}


def cases(widths: tuple[int, int]) -> list[dict]:
    """files: by name, their tensors' shapes and the token that is asked for."""
    l, g = widths
    both = {"file": "sks.safetensors", "tensors": {"clip_l": [2, l], "clip_g": [2, g]}, "token": ""}
    one = {"file": "learned_embeds.safetensors", "tensors": {"<red-cat>": [l]}, "token": ""}
    a1111 = {"file": "style.safetensors", "tensors": {"emb_params": [3, l]}, "token": "<my-style>"}
    return [
        {"name": "diffusers", "files": [one], "prompt": "a <red-cat> on a hill"},
        {"name": "sdxl", "files": [both], "prompt": "a photo of sks, red"},
        {"name": "several", "files": [one, a1111, both], "prompt": "a <RED-cat>, sks in <my-style>"},
    ]


def run_case(case: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(make_checkpoint(case, Path(folder)), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    parts = {"clip_l": (pipe.tokenizer, pipe.text_encoder), "clip_g": (pipe.tokenizer_2, pipe.text_encoder_2)}
    for file in case["files"]:
        for name, shape in file["tensors"].items():
            tokenizer, encoder = parts.get(name, parts["clip_l"])
            token = file["token"] or (file["file"].removesuffix(".safetensors") if name in parts else name)
            with tempfile.TemporaryDirectory() as folder:
                save_file({token: random_tensor(name, shape, 1)}, Path(folder) / "learned_embeds.safetensors")
                pipe.load_textual_inversion(folder, token=token, tokenizer=tokenizer, text_encoder=encoder)
    arguments = {**case["call"], "generator": torch.Generator().manual_seed(case["call"]["generator"]["seed"])}
    return {"latents": pipe(**arguments, output_type="latent").images}


def main() -> None:
    keep_quiet()
    writer = GoldenWriter(DATA / "textual_inversion")
    with tempfile.TemporaryDirectory() as folder:
        pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(make_checkpoint(CHECKPOINT, Path(folder)))
    for case in cases((pipe.text_encoder.config.hidden_size, pipe.text_encoder_2.config.hidden_size)):
        case = {**CHECKPOINT, "name": case["name"], "files": case["files"], "call": {"prompt": case["prompt"], **CALL}}
        outputs = run_case(case)
        writer.add(case, outputs, 320)
        print(f"{case['name']:28} latents rms {outputs['latents'].pow(2).mean().sqrt():.3f}", flush=True)
    writer.finish("tools/golden/textual_inversion.py", library_versions())


if __name__ == "__main__":
    main()
