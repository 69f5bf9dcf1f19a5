"""Prompts for the two tokenizers of emoji-flux, and T5's tokenizer, learnt from them."""

import string
from pathlib import Path

import sentencepiece
import torch
from transformers import CLIPTokenizer, T5TokenizerFast

from captions import CaptionSource
from common import load_captions
from flux_recipe import FluxRecipe

LONGEST = 512


class Prompts:
    """Wordings of a glyph, drawn anew for every batch: its captions plain, among filler, or among words that must not move it; in any letter case."""

    def __init__(self, work: Path, seed: int):
        self.captions = CaptionSource(load_captions(work), seed)
        self.names = self.captions.names

    def draw(self, glyph: int) -> str:
        rng, text = self.captions.rng, self.captions.draw(glyph)
        kind = rng.random()
        if kind > 0.8:
            text = self.captions.distracted(text, glyph)
        elif kind > 0.5:
            text = self.captions.with_filler(text)
        case = rng.random()
        return text.capitalize() if case < 0.15 else text.title() if case < 0.19 else text.upper() if case < 0.21 else text


def learn_t5_tokenizer(work: Path, recipe: FluxRecipe) -> None:
    """A unigram model as T5's: <pad> 0, </s> 1, <unk> 2, letter case kept, extra ids at the end."""
    prompts = Prompts(work, seed=5)
    texts = [c["text"] for c in load_captions(work)["captions"]] + [prompts.draw(g) for g in range(len(prompts.names)) for _ in range(20)]
    folder = work / "tokenizer_2"
    folder.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "spiece"), vocab_size=recipe.pieces, model_type="unigram", character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + string.punctuation, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>",
        unk_piece="<unk>", normalization_rule_name="nmt_nfkc", hard_vocab_limit=False, minloglevel=2)
    (folder / "spiece.vocab").unlink()
    T5TokenizerFast.from_pretrained(folder, extra_ids=recipe.extra_ids, model_max_length=LONGEST).save_pretrained(folder)


class TokenIds:
    """Texts to ids as FluxPipeline makes them. Nothing behind CLIP's first end token matters to its pooled output, so its rows are only as long as needed."""

    def __init__(self, work: Path):
        self.clip, self.t5 = CLIPTokenizer.from_pretrained(work / "tokenizer"), T5TokenizerFast.from_pretrained(work / "tokenizer_2")

    def __call__(self, texts: list[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        clip = self.clip(texts, truncation=True, max_length=77, padding="longest", return_tensors="pt").input_ids
        t5 = self.t5(texts, truncation=True, max_length=length, padding="max_length", return_tensors="pt").input_ids
        return clip, t5
