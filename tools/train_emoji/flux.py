"""Trains emoji-flux from emoji-xl, the font and the CLDR names to a Diffusers folder. See README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import train_flux
import train_flux_text
from captions import captions_to_json, make_captions
from common import Pictures
from flux_export import check, export
from flux_prompts import learn_t5_tokenizer
from flux_recipe import FULL, SMOKE, FluxRecipe
from glyphs import make_pictures, read_annotations, read_selection
from stages import run_stages, stage_parser, work_folder

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
    parser = stage_parser("flux.py", __doc__, "a few glyphs and steps of every stage: the model draws nothing")
    parser.add_argument("--xl", type=Path, default=EMOJI_XL, help="the emoji-xl whose VAE, tokenizer and first text encoder it begins with")
    args = parser.parse_args()

    recipe = SMOKE if args.smoke else FULL
    work = work_folder(args)
    stages = {
        "prepare": lambda: prepare(work, args.xl, recipe, args.font, args.annotations),
        "text": lambda: train_flux_text.train(work, args.xl, recipe),
        "flux": lambda: train_flux.train(work, args.xl, recipe),
        "export": lambda: (export(work, args.xl, args.out, recipe), check(args.out, recipe)),
    }
    run_stages(parser, args, stages)


if __name__ == "__main__":
    main()
