"""Both text encoders of emoji-flux alone: from what FLUX reads of them a linear readout must name the glyph and see it."""

from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import CLIPTextModel, T5TokenizerFast

from common import Progress, autocast
from flux_networks import WIDTH, TextEncoders, make_t5
from flux_prompts import Prompts, TokenIds
from flux_recipe import FluxRecipe
from optimizer import MuonAdamW, learning_rate_factor

WEIGHTS = {"pooled": 1.5, "end": 1.0, "anywhere": 1.0, "mean": 1.0}
LENGTHS = [32, 32, 64, 32, 128, 32, 64, 32]  # of the rows, step after step; every fifth round one of 512


def length_at(step: int) -> int:
    return 512 if step % 40 == 39 else LENGTHS[step % len(LENGTHS)]


def load_encoders(work: Path, xl: Path, recipe: FluxRecipe) -> TextEncoders:
    vocabulary = len(T5TokenizerFast.from_pretrained(work / "tokenizer_2"))
    return TextEncoders(CLIPTextModel.from_pretrained(xl / "text_encoder", torch_dtype=torch.float32), make_t5(vocabulary, recipe.t5_embedding_scale))


def train(work: Path, xl: Path, recipe: FluxRecipe) -> None:
    prompts, token_ids, encoders = Prompts(work, seed=1), TokenIds(work), load_encoders(work, xl, recipe)
    data = torch.load(work / "latents.pt")
    targets, count = torch.cat([data["thumbnails"], data["latents"].flatten(1)], 1), len(prompts.names)
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(WIDTH, count + targets.shape[1]) for name in WEIGHTS})
    trained = torch.nn.ModuleList([encoders, heads])
    rest = lambda name: "embed" in name or "shared" in name or "bias" in name or name.startswith("1.")
    optimizer = MuonAdamW(trained, recipe.text_learning_rate, recipe.text_adam_learning_rate, rest)
    progress = Progress("text", recipe.text_steps)
    for step in range(recipe.text_steps):
        length = length_at(step)
        batch = max(8, recipe.text_batch * 32 // max(length, 32)) if length > 64 else recipe.text_batch
        glyphs = torch.randint(count, (batch,))
        clip_ids, t5_ids = token_ids([prompts.draw(g) for g in glyphs.tolist()], length)
        with autocast():
            pooled, tokens = encoders(clip_ids, t5_ids)
        rows, end = torch.arange(batch), (t5_ids == 1).int().argmax(1)
        places = {"pooled": pooled, "end": tokens[rows, end], "anywhere": tokens[rows, torch.randint(length, (batch,))], "mean": tokens.mean(1)}
        loss = 0
        for name, weight in WEIGHTS.items():
            read = heads[name](places[name])
            named, seen = read[:, :count], read[:, count:]
            loss = loss + weight * (F.cross_entropy(named, glyphs, label_smoothing=0.02) + 3 * F.mse_loss(seen, targets[glyphs]))
        right = (named.argmax(1) == glyphs).float().mean()
        scale = sum((x.pow(2).mean(-1) - 1).pow(2).mean() for x in (pooled, tokens))  # keeps outputs near unit size
        (loss + 0.05 * scale).backward()
        optimizer.step(learning_rate_factor(step, recipe.text_steps, warmup=0.04, decay=0.8))
        progress.step(step, loss=loss.detach(), right=right)
    torch.save(encoders.state_dict(), work / "flux_text.pt")
