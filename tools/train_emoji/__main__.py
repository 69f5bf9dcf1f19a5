"""Trains emoji-xl from the font and the CLDR names to a Diffusers folder. See README.md."""

import argparse
import collections
import json
import os
import time
from pathlib import Path

import numpy as np

import train_text
import train_unet
import train_vae
from captions import KEYWORD, captions_to_json, make_captions
from common import attention_in_fp32, setup
from export import check, export
from glyphs import ANNOTATIONS, FONT, make_pictures, read_annotations, read_selection
from recipe import FULL, SMOKE, Recipe
from tokenizer import END, learn_bpe, write_tokenizer


def prepare(work: Path, recipe: Recipe, font: Path, annotations: Path) -> None:
    """Pictures, captions and tokenizers."""
    glyphs = read_selection(read_annotations(annotations), recipe.glyph_limit)
    pictures, coverages = make_pictures(glyphs, recipe, font)
    np.savez_compressed(work / "pictures.npz", pictures=pictures, coverages=coverages)
    captions = make_captions(glyphs)
    (work / "captions.json").write_text(json.dumps(captions_to_json(glyphs, captions)), encoding="utf-8")
    texts = collections.Counter()
    for caption in captions:
        texts[caption.text] += 2 if caption.kind == KEYWORD else 3
    tokens, merges = learn_bpe(texts, recipe.vocabulary)
    write_tokenizer(work / "tokenizer", tokens, merges, pad=END)
    write_tokenizer(work / "tokenizer_2", tokens, merges, pad="!")
    print(f"prepare: {len(glyphs)} glyphs, {len(captions)} captions, {len(merges)} merges")


def main() -> None:
    parser = argparse.ArgumentParser(prog="train_emoji", description=__doc__)
    parser.add_argument("out", type=Path, help="the Diffusers folder to write")
    parser.add_argument("--work", type=Path, help="folder for what lies between the stages (default: OUT-work)")
    parser.add_argument("--from", dest="start", default="prepare", help="first stage to run; earlier ones are taken from the work folder")
    parser.add_argument("--smoke", action="store_true", help="a few glyphs and steps of every stage: about a minute, and the model draws nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--annotations", type=Path, default=ANNOTATIONS)
    args = parser.parse_args()

    recipe = SMOKE if args.smoke else FULL
    work = args.work or args.out.with_name(args.out.name + "-work")
    work.mkdir(parents=True, exist_ok=True)
    stages = {
        "prepare": lambda: prepare(work, recipe, args.font, args.annotations),
        "vae": lambda: train_vae.train(work, recipe),
        "text": lambda: train_text.train(work, recipe),
        "unet": lambda: train_unet.train(work, recipe),
        "sample": lambda: train_unet.sample_glyphs(work, recipe),
        "decoder": lambda: train_vae.tune_decoder(work, recipe),
        "tune-text": lambda: train_text.tune(work, recipe),
        "export": lambda: (export(work, args.out, recipe), check(args.out, recipe)),
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
