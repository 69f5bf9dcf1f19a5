"""Calls of pipelines on tiny checkpoints with weights by the rule in weights.py: what transformer_pipelines.py and video_pipelines.py share."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

from pipelines import call_arguments
from weights import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def save_picture(path: Path, height: int, width: int, time: int = 0) -> None:
    """Waves that move with the time."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([128 + 120 * np.sin((x + time) / 3.0), 128 + 100 * np.cos((y - time) / 4.0), (x * 5 + y * 7 + 20 * time) % 256], axis=-1)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(path, optimize=True)


def write_pictures(data: Path) -> None:
    save_picture(data / "square.png", 32, 32)
    save_picture(data / "wide.png", 20, 52)


def random_checkpoint(configs: Path, tokenizers: dict[str, str], seed: int, folder: Path) -> Path:
    copy = folder / "configs"
    shutil.copytree(configs, copy)
    for entry, source in tokenizers.items():
        shutil.copytree(ROOT / source, copy / entry)
    write_checkpoint(copy, folder / "checkpoint", seed)
    return folder / "checkpoint"


def files_as_inputs(data: Path, args: dict) -> dict:
    """`image` names a PNG or several, `video` a folder of them or several."""

    def read(name):
        if isinstance(name, list):
            return [read(one) for one in name]
        path = data / name
        return [Image.open(file) for file in sorted(path.iterdir())] if path.is_dir() else Image.open(path)

    return {name: read(value) if name in ("image", "video") else value for name, value in args.items()}


def run_case(item: dict, data: Path, make_checkpoint: Callable[[dict, Path], Path], every_step: bool = False) -> dict:
    """The latents after the last step, of `every_step` ("latents.0" ...) too, and the images or frames [N, ..., H, W, 3] in 0..1 where they are decoded."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = getattr(diffusers, item["pipeline"]).from_pretrained(make_checkpoint(item, Path(folder)), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    steps = []

    def keep_latents(_pipe, _step, _timestep, tensors):
        steps.append(tensors["latents"].clone())
        return tensors

    args = files_as_inputs(data, call_arguments(item["call"]))
    if item["pipeline"] == "AuraFlowPipeline":  # wants masks beside embeddings, and reads them no more
        args |= {name.replace("embeds", "attention_mask"): torch.ones(value.shape[:2]) for name, value in args.items() if name.endswith("prompt_embeds")}
    made = pipe(**{"output_type": "np", **args}, callback_on_step_end=keep_latents)
    outputs = {"latents": steps[-1]}
    if every_step:
        outputs |= {f"latents.{i}": latents for i, latents in enumerate(steps)}
    if args.get("output_type") != "latent":
        outputs |= {name: torch.from_numpy(values) for name, values in made.items()}
    return outputs
