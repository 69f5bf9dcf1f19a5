"""emoji-flux's transformer by flow matching on the glyphs' latents; prompts are drawn and encoded anew at every step.

Guidance is learnt without a teacher: the training set is known, so the mean of all glyphs given a noisy one, E[x0 | x_t], is a softmax over them, and the
target for guidance g is x0 + (g - 1) (x0 - E[x0 | x_t]). A dropped prompt has that mean itself as its target, so guidance by a negative prompt works too.
"""

from pathlib import Path

import torch

from common import Progress, Shuffled, autocast
from flux_networks import SHIFT, TextEncoders, image_ids, make_transformer, pack
from flux_prompts import Prompts, TokenIds
from flux_recipe import FluxRecipe
from optimizer import Average, MuonAdamW, learning_rate_factor
from train_flux_text import load_encoders

LENGTHS = [32, 64, 32, 32, 64, 32, 32, 64, 32, 128]


class Posterior:
    """Which glyph a noisy one may have been: x_t = (1 - s) x0 + s e with e normal."""

    def __init__(self, clean: torch.Tensor):
        self.flat = clean.flatten(1)
        self.squares = self.flat.pow(2).sum(1)

    def __call__(self, noisy: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> probabilities [B, glyphs], their mean [B, tokens, channels]"""
        kept = (1 - sigma)[:, None]
        logits = (2 * kept * (noisy.flatten(1) @ self.flat.T) - kept**2 * self.squares) / (2 * sigma[:, None] ** 2)
        weights = logits.softmax(1)
        return weights, (weights @ self.flat).view_as(noisy)


def shifted(t: torch.Tensor) -> torch.Tensor:
    return SHIFT * t / (1 + (SHIFT - 1) * t)


def predict(transformer, noisy, sigma, guidance, pooled, tokens) -> torch.Tensor:
    with autocast():
        return transformer(hidden_states=noisy, timestep=sigma, guidance=guidance, pooled_projections=pooled, encoder_hidden_states=tokens,
                           txt_ids=torch.zeros(tokens.shape[1], 3), img_ids=image_ids(), return_dict=False)[0].float()


class Batch:
    """Noisy glyphs with what the transformer should say of them."""

    def __init__(self, clean: torch.Tensor, glyphs: torch.Tensor, dropped: torch.Tensor, posterior: Posterior, recipe: FluxRecipe):
        size, x0 = len(glyphs), clean[glyphs]
        # One noise level from each of `size` equal slices.
        self.sigma = shifted(((torch.arange(size) + torch.rand(size)) / size).clamp(0.01, 1))[torch.randperm(size)]
        s = self.sigma[:, None, None]
        self.noisy = (1 - s) * x0 + s * torch.randn_like(x0)
        beyond = (torch.rand(size) < recipe.overshoot) & (self.sigma < 0.97) & ~dropped
        self.noisy = self.noisy + (beyond * self.sigma * torch.rand(size) * 0.6)[:, None, None] * x0
        weights, mean = posterior(self.noisy, self.sigma)
        plain = torch.rand(size) < recipe.plain_guidance
        self.guidance = torch.where(plain, torch.ones(size), 1 + (recipe.largest_guidance - 1) * torch.rand(size))
        wanted = torch.where(dropped[:, None, None], mean, x0 + (self.guidance - 1)[:, None, None] * (x0 - mean))
        self.velocity = (self.noisy - wanted) / s
        # Strong guidance where the glyph is unlikely makes large targets: they must not outweigh the others.
        unlikely = (1 - weights[torch.arange(size), glyphs]) * ~dropped
        self.weight = 2 * self.sigma / (1 + (self.guidance - 1) * unlikely) ** 2


@torch.no_grad()
def encode(encoders: TextEncoders, token_ids: TokenIds, texts: list[str], length: int):
    with autocast():
        return encoders(*token_ids(texts, length))


def train(work: Path, xl: Path, recipe: FluxRecipe) -> None:
    prompts, token_ids, encoders = Prompts(work, seed=11), TokenIds(work), load_encoders(work, xl, recipe)
    encoders.load_state_dict(torch.load(work / "flux_text.pt"))
    encoders.eval()
    clean = pack(torch.load(work / "latents.pt")["latents"]).contiguous()
    posterior, transformer = Posterior(clean), make_transformer()
    optimizer = MuonAdamW(transformer, recipe.flux_learning_rate, recipe.flux_adam_learning_rate, lambda name: name.startswith(("x_embedder", "proj_out")))
    average, batches = Average(transformer, recipe.flux_average), Shuffled(len(clean), recipe.flux_batch)
    progress = Progress("flux", recipe.flux_steps)
    for step in range(recipe.flux_steps):
        length = 512 if step % 40 == 39 else LENGTHS[step % len(LENGTHS)]
        glyphs = batches.next()
        if length > 64:  # longer rows, fewer of them
            glyphs = glyphs[: max(4, len(glyphs) * 64 // length)]
        dropped = torch.rand(len(glyphs)) < recipe.prompt_dropout
        texts = ["" if none else prompts.draw(g) for g, none in zip(glyphs.tolist(), dropped.tolist())]
        pooled, tokens = encode(encoders, token_ids, texts, length)
        batch = Batch(clean, glyphs, dropped, posterior, recipe)
        predicted = predict(transformer, batch.noisy, batch.sigma, batch.guidance, pooled, tokens)
        loss = ((predicted - batch.velocity).pow(2).mean((1, 2)) * batch.weight).mean()
        loss.backward()
        optimizer.step(learning_rate_factor(step, recipe.flux_steps, warmup=0.02, decay=0.6))
        average.step()
        progress.step(step, loss=loss.detach())
    average.apply()
    torch.save(transformer.state_dict(), work / "flux.pt")
