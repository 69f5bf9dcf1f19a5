"""Trains emoji-flux from emoji-xl, the font and the CLDR names to a Diffusers folder. See README.md."""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import train_flux
import train_flux_text
from captions import captions_to_json, make_captions
from common import Pictures, attention_in_fp32, setup
from flux_export import check, export
from flux_prompts import learn_t5_tokenizer
from flux_recipe import FULL, SMOKE, FluxRecipe
from glyphs import ANNOTATIONS, FONT, make_pictures, read_annotations, read_selection

EMOJI_XL = Path(__file__).resolve().parents[2] / "assets" / "emoji-xl"


def prepare(work: Path, xl: Path, recipe: FluxRecipe, font: Path, annotations: Path) -> None:
    """Pictures, captions, tokenizers, and the pictures' latents."""
    glyphs = read_selection(read_annotations(annotations), recipe.pictures.glyph_limit)
    pictures, coverages = make_pictures(glyphs, recipe.pictures, font)
    np.savez_compressed(work / "pictures.npz", pictures=pictures, coverages=coverages)
    (work / "captions.json").write_text(json.dumps(captions_to_json(glyphs, make_captions(glyphs))), encoding="utf-8")
    shutil.copytree(xl / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
    learn_t5_tokenizer(work, recipe)
    vae = AutoencoderKL.from_pretrained(xl / "vae", torch_dtype=torch.float32).eval()
    all_pictures = Pictures(work)
    images = all_pictures.batch(torch.arange(len(all_pictures)))
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mode() for part in images.split(32)]) * vae.config.scaling_factor
    small = F.avg_pool2d(images, 8).flatten(1)
    torch.save({"latents": latents.contiguous(), "thumbnails": (small - small.mean(0)) / small.std()}, work / "latents.pt")
    print(f"prepare: {len(glyphs)} glyphs, latents of deviation {latents.std():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="flux.py", description=__doc__)
    parser.add_argument("out", type=Path, help="the Diffusers folder to write")
    parser.add_argument("--xl", type=Path, default=EMOJI_XL, help="the emoji-xl whose VAE, tokenizer and first text encoder it begins with")
    parser.add_argument("--work", type=Path, help="folder for what lies between the stages (default: OUT-work)")
    parser.add_argument("--from", dest="start", default="prepare", help="first stage to run; earlier ones are taken from the work folder")
    parser.add_argument("--smoke", action="store_true", help="a few glyphs and steps of every stage: the model draws nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--annotations", type=Path, default=ANNOTATIONS)
    args = parser.parse_args()

    recipe = SMOKE if args.smoke else FULL
    work = args.work or args.out.with_name(args.out.name + "-work")
    work.mkdir(parents=True, exist_ok=True)
    stages = {
        "prepare": lambda: prepare(work, args.xl, recipe, args.font, args.annotations),
        "text": lambda: train_flux_text.train(work, args.xl, recipe),
        "flux": lambda: train_flux.train(work, args.xl, recipe),
        "export": lambda: (export(work, args.xl, args.out, recipe), check(args.out, recipe)),
    }
    if args.start not in stages:
        parser.error(f"--from {args.start}: the stages are {', '.join(stages)}")
    for path in (args.font, args.annotations):
        if args.start == "prepare" and not path.exists():
            parser.error(f"{path} is missing: apt-get install fonts-noto-color-emoji unicode-cldr-core, or name the file with an option")

    attention_in_fp32()
    names = list(stages)
    for name in names[names.index(args.start) :]:
        setup(seed=names.index(name), threads=args.threads)
        start = time.time()
        stages[name]()
        print(f"{name}: done in {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
