"""The text encoders: first alone, from caption to glyph; later made robust behind the trained UNet."""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F

from captions import CaptionSource
from common import Pictures, Progress, TokenIds, autocast, load_captions
from networks import TextEncoders
from optimizer import MuonAdamW, learning_rate_factor
from recipe import Recipe

SHORT_LENGTH, FULL_LENGTH = 28, 77  # most steps run on short rows; the full length is what SDXL feeds


def thumbnails(work: Path) -> torch.Tensor:
    """16x16 pictures of all glyphs, normalised over the set: what a glyph looks like, in 768 numbers."""
    pictures = Pictures(work)
    small = F.avg_pool2d(pictures.batch(torch.arange(len(pictures))), 8).flatten(1)
    return (small - small.mean(0)) / small.std()


class Readouts(torch.nn.Module):
    """Linear heads on every place where SDXL's UNet reads the text: each must tell the glyph and its thumbnail."""

    WEIGHTS = {"first_end": 0.5, "first_padding": 0.5, "second_end": 0.5, "second_padding": 0.5, "pooled": 2.0}

    def __init__(self, classes: int, thumbnail: int):
        super().__init__()
        self.classes = classes
        self.heads = torch.nn.ModuleDict({k: torch.nn.Linear(128 if k.startswith("first") else 192, classes + thumbnail) for k in self.WEIGHTS})

    def loss(self, places: dict[str, torch.Tensor], glyphs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> loss, share of the batch that the pooled embedding names rightly"""
        loss = 0
        for name, weight in self.WEIGHTS.items():
            read = self.heads[name](places[name])
            loss = loss + weight * (F.cross_entropy(read[:, : self.classes], glyphs) + 4 * F.mse_loss(read[:, self.classes :], targets))
        right = (read[:, : self.classes].argmax(1) == glyphs).float().mean()  # pooled comes last
        return loss, right


def train(work: Path, recipe: Recipe) -> None:
    captions = CaptionSource(load_captions(work), seed=0)
    token_ids, targets, count = TokenIds(work), thumbnails(work), len(captions.names)
    encoders = TextEncoders(recipe.vocabulary)
    readouts = Readouts(count, targets.shape[1])
    trained = torch.nn.ModuleList([encoders, readouts])
    optimizer = MuonAdamW(trained, recipe.text_learning_rate, adam_only=lambda name: "embedding" in name or name.startswith("1."))
    progress = Progress("text", recipe.text_steps)
    for step in range(recipe.text_steps):
        glyphs = torch.randint(count, (recipe.text_batch,))
        length = FULL_LENGTH if step % 8 == 7 else SHORT_LENGTH
        first_ids, second_ids = token_ids([captions.with_filler(captions.draw(g)) for g in glyphs.tolist()], length)
        with autocast():
            first, second, pooled = encoders(first_ids, second_ids)
        rows, end = torch.arange(len(glyphs)), second_ids.argmax(1)
        padding = torch.maximum(end, torch.randint(length, end.shape))  # any position behind the caption: cross-attention reads them all
        places = {
            "first_end": first[rows, end],
            "first_padding": first[rows, padding],
            "second_end": second[rows, end],
            "second_padding": second[rows, padding],
            "pooled": pooled,
        }
        loss, right = readouts.loss(places, glyphs, targets[glyphs])
        scale = sum((places[k].pow(2).mean(-1) - 1).pow(2).mean() for k in ("first_end", "second_end", "pooled"))  # keeps outputs near unit size
        (loss + 0.05 * scale).backward()
        optimizer.step(learning_rate_factor(step, recipe.text_steps, warmup=0.05, decay=0.8))
        progress.step(step, loss=loss.detach(), right=right)
    encoders.eval()
    with torch.no_grad():
        pooled = encoders(*token_ids([f"i would like a {name} today" for name in captions.names], FULL_LENGTH))[2]
        named = readouts.heads["pooled"](pooled)[:, :count].argmax(1)
    print(f"text: {(named == torch.arange(count)).float().mean():.1%} of the glyphs named rightly in a phrase never seen")
    torch.save(encoders.state_dict(), work / "text.pt")


def tune(work: Path, recipe: Recipe) -> None:
    """Known captions keep the embeddings the UNet has learnt; distracted ones get the embeddings of the plain caption."""
    captions, token_ids = CaptionSource(load_captions(work), seed=7), TokenIds(work)
    encoders = TextEncoders(recipe.vocabulary)
    encoders.load_state_dict(torch.load(work / "text.pt"))
    frozen = copy.deepcopy(encoders).eval()
    optimizer = MuonAdamW(encoders, recipe.text_tune_learning_rate, adam_only=lambda name: "embedding" in name)
    progress, half = Progress("text tuning", recipe.text_tune_steps), recipe.text_tune_batch // 2
    for step in range(recipe.text_tune_steps):
        length = FULL_LENGTH if step % 6 == 5 else 32
        glyphs = torch.randint(len(captions.names), (recipe.text_tune_batch,)).tolist()
        plain = [captions.draw(g) for g in glyphs]
        plain[:half] = [captions.with_filler(t) if captions.rng.random() < 0.4 else t for t in plain[:half]]
        shown = plain[:half] + [captions.distracted(t, g) for t, g in zip(plain[half:], glyphs[half:])]
        plain_ids, shown_ids = token_ids(plain, length), token_ids(shown, length)
        with autocast():
            with torch.no_grad():
                wanted = frozen(*plain_ids)
            got = encoders(*shown_ids)
        # A distracted caption is longer: only positions that are padding in both have a counterpart.
        end = torch.maximum(plain_ids[1].argmax(1), shown_ids[1].argmax(1))
        counts = (torch.arange(length)[None] >= end[:, None]).float()
        counts[:half] = 1
        hidden = sum((g - w).pow(2).mean(-1) for g, w in zip(got[:2], wanted[:2])) * counts
        pooled = (got[2] - wanted[2]).pow(2).mean(-1)
        kept = hidden[:half].mean() + pooled[:half].mean()
        moved = hidden[half:].sum() / counts[half:].sum().clamp(min=1) + 2 * pooled[half:].mean()
        (4 * kept + moved).backward()
        optimizer.step(learning_rate_factor(step, recipe.text_tune_steps, warmup=0.03, decay=0.8))
        progress.step(step, kept=kept.detach(), moved=moved.detach())
    torch.save(encoders.state_dict(), work / "text_tuned.pt")
