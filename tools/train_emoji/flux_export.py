"""emoji-flux as a Diffusers folder."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer, T5TokenizerFast

from flux_networks import make_scheduler, make_transformer
from flux_recipe import FluxRecipe
from train_flux_text import load_encoders


def export(work: Path, xl: Path, out: Path, recipe: FluxRecipe) -> None:
    encoders, transformer = load_encoders(work, xl, recipe), make_transformer()
    encoders.load_state_dict(torch.load(work / "flux_text.pt"))
    transformer.load_state_dict(torch.load(work / "flux.pt"))
    vae = AutoencoderKL.from_pretrained(xl / "vae", torch_dtype=torch.float16)
    vae.register_to_config(shift_factor=0.0)
    pipeline = FluxPipeline(
        scheduler=make_scheduler(),
        vae=vae,
        text_encoder=encoders.clip,
        tokenizer=CLIPTokenizer.from_pretrained(work / "tokenizer"),
        text_encoder_2=encoders.t5,
        tokenizer_2=T5TokenizerFast.from_pretrained(work / "tokenizer_2"),
        transformer=transformer,
    )
    if out.exists():
        shutil.rmtree(out)
    pipeline.to(torch.float16).save_pretrained(out, safe_serialization=True)
    # What transformers 5 leaves out, or calls otherwise, of the files that FLUX.1 is published with.
    for file in (work / "tokenizer").iterdir():
        shutil.copy(file, out / "tokenizer" / file.name)
    shutil.copy(work / "tokenizer_2" / "spiece.model", out / "tokenizer_2")
    weights = out / "text_encoder" / "model.safetensors"
    tensors = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    index = json.loads((out / "model_index.json").read_text())
    index["tokenizer_2"] = ["transformers", "T5TokenizerFast"]
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def check(out: Path, recipe: FluxRecipe) -> None:
    """Loads the folder as a user would and draws one picture."""
    pipeline = FluxPipeline.from_pretrained(out, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    size = recipe.pictures.resolution
    call = {"height": size, "width": size, "num_inference_steps": recipe.sampling_steps, "max_sequence_length": recipe.sampling_length}
    pipeline("a red apple", generator=torch.Generator().manual_seed(7), **call).images[0].save(out.with_name(out.name + "-red-apple.png"))
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"export: {out} loads and draws; {total / 1e6:.1f} MB")
