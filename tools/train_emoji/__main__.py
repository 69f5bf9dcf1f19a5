"""Trains emoji-xl from the font and the CLDR names to a Diffusers folder. See README.md."""

import collections
import json
from pathlib import Path

import numpy as np

import train_text
import train_unet
import train_vae
from captions import KEYWORD, captions_to_json, make_captions
from export import check, export
from glyphs import make_pictures, read_annotations, read_selection
from recipe import FULL, SMOKE, Recipe
from stages import run_stages, stage_parser, work_folder
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
    parser = stage_parser("train_emoji", __doc__, "a few glyphs and steps of every stage: about a minute, and the model draws nothing")
    args = parser.parse_args()

    recipe = SMOKE if args.smoke else FULL
    work = work_folder(args)
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
    run_stages(parser, args, stages)


if __name__ == "__main__":
    main()
