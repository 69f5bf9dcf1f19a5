"""The Diffusers folder."""

import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from networks import TextEncoders, make_scheduler, make_unet, make_vae
from recipe import Recipe


def export(work: Path, out: Path, recipe: Recipe) -> None:
    encoders, unet, vae = TextEncoders(recipe.vocabulary), make_unet(), make_vae()
    encoders.load_state_dict(torch.load(work / "text_tuned.pt"))
    unet.load_state_dict(torch.load(work / "unet.pt"))
    vae.load_state_dict(torch.load(work / "vae_tuned.pt")["vae"])
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoders.first,
        text_encoder_2=encoders.second,
        tokenizer=CLIPTokenizer.from_pretrained(work / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(work / "tokenizer_2"),
        unet=unet,
        scheduler=make_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    if out.exists():
        shutil.rmtree(out)
    pipeline.to(torch.float16).save_pretrained(out, safe_serialization=True)
    for name in ("tokenizer", "tokenizer_2"):  # the four files SDXL ships, in place of the one that transformers 5 writes
        shutil.rmtree(out / name)
        shutil.copytree(work / name, out / name)
    # transformers 5 drops a prefix that every published SDXL checkpoint has.
    file = out / "text_encoder" / "model.safetensors"
    tensors = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def check(out: Path, recipe: Recipe) -> None:
    """Loads the folder as a user would and draws one picture."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(out, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    size = recipe.resolution
    steps = recipe.sampling_steps
    image = pipeline("a red apple", num_inference_steps=steps, height=size, width=size, generator=torch.Generator().manual_seed(7)).images[0]
    image.save(out.with_name(out.name + "-red-apple.png"))
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"export: {out} loads and draws; {total / 1e6:.1f} MB")
