"""The UNet, on cached latents and cached text embeddings; and sampling with it, for the decoder's second training."""

import itertools
from pathlib import Path

import torch

from captions import CaptionSource
from common import Progress, Shuffled, TokenIds, autocast, load_captions
from networks import LATENT_CHANNELS, TextEncoders, make_scheduler, make_unet
from optimizer import Average, MuonAdamW, learning_rate_factor
from recipe import Recipe


class Embeddings:
    """prompt_embeds [N, 77, 320] (kept in bf16) and text_embeds [N, 192] of many texts."""

    @torch.no_grad()
    def __init__(self, encoders: TextEncoders, token_ids: TokenIds, texts: list[str]):
        parts = []
        for i in range(0, len(texts), 128):
            with autocast():
                first, second, pooled = encoders(*token_ids(texts[i : i + 128], 77))
            parts.append((torch.cat([first, second], -1).bfloat16(), pooled))
        self.prompt, self.pooled = (torch.cat(p) for p in zip(*parts))


def predict(unet, latents, timesteps, prompt, pooled, resolution: int) -> torch.Tensor:
    time_ids = torch.tensor([[resolution, resolution, 0, 0, resolution, resolution]], dtype=torch.float32).expand(len(latents), -1)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    with autocast():
        latents = latents.contiguous(memory_format=torch.channels_last)
        return unet(latents, timesteps, prompt, added_cond_kwargs=added, return_dict=False)[0].float()


def start_residuals_at_zero(unet) -> None:
    """Every residual branch begins as nothing, so that the untrained UNet is the identity it is built around."""
    for name, module in unet.named_modules():
        if name == "conv_out" or name.endswith((".conv2", ".proj_out")):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)


def load_encoders(work: Path, recipe: Recipe) -> TextEncoders:
    encoders = TextEncoders(recipe.vocabulary)
    encoders.load_state_dict(torch.load(work / "text.pt"))
    return encoders.eval()


def train(work: Path, recipe: Recipe) -> None:
    captions = CaptionSource(load_captions(work), seed=2)
    choices = [captions.unet_captions(g) for g in range(len(captions.names))]
    first_row = [0, *itertools.accumulate(len(c) for c in choices)]
    chances = [torch.tensor([weight for _, weight in c]) for c in choices]
    embeddings = Embeddings(load_encoders(work, recipe), TokenIds(work), [text for c in choices for text, _ in c])
    clean = torch.load(work / "vae.pt")["latents"]

    alphas = make_scheduler().alphas_cumprod
    signal, noise_level = alphas.sqrt().view(-1, 1, 1, 1), (1 - alphas).sqrt().view(-1, 1, 1, 1)
    # An error in epsilon is an error of sigma times its size in the picture: weight by sigma, which lifts the noisy steps that decide the shape.
    weights = ((1 - alphas) / alphas).sqrt()
    weights = weights / weights.mean()

    unet = make_unet()
    start_residuals_at_zero(unet)
    unet.to(memory_format=torch.channels_last)
    optimizer = MuonAdamW(unet, recipe.unet_learning_rate, recipe.unet_adam_learning_rate, lambda name: name.startswith(("conv_in", "conv_out")))
    average, batches = Average(unet, 0.998), Shuffled(len(clean), recipe.unet_batch)
    progress, size = Progress("unet", recipe.unet_steps), recipe.unet_batch
    for step in range(recipe.unet_steps):
        glyphs = batches.next()
        rows = torch.tensor([first_row[g] + int(torch.multinomial(chances[g], 1)) for g in glyphs.tolist()])
        kept = (torch.rand(size) >= recipe.unet_prompt_dropout).float()
        prompt, pooled = embeddings.prompt[rows] * kept[:, None, None], embeddings.pooled[rows] * kept[:, None]
        # One timestep from each of `size` equal slices: every batch sees the whole range.
        timesteps = ((torch.arange(size) + torch.rand(size)) * (1000 / size)).long()[torch.randperm(size)]
        latents = clean[glyphs] + recipe.unet_latent_noise * torch.randn_like(clean[glyphs])
        noise = torch.randn_like(latents)
        noisy = signal[timesteps] * latents + noise_level[timesteps] * noise
        predicted = predict(unet, noisy, timesteps, prompt.bfloat16(), pooled, recipe.resolution)
        loss = ((predicted - noise).pow(2).mean((1, 2, 3)) * weights[timesteps]).mean()
        loss.backward()
        optimizer.step(learning_rate_factor(step, recipe.unet_steps, warmup=0.02, decay=0.6))
        average.step()
        progress.step(step, loss=loss.detach())
    average.apply()
    torch.save(unet.state_dict(), work / "unet.pt")


@torch.no_grad()
def sample(unet, embeddings: Embeddings, recipe: Recipe) -> torch.Tensor:
    """Scaled latents of one picture for each text, by SDXL's own loop with guidance against zeroed embeddings."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(recipe.sampling_steps)
    side = recipe.resolution // 8
    latents = torch.randn(len(embeddings.prompt), LATENT_CHANNELS, side, side) * scheduler.init_noise_sigma
    prompt = torch.cat([torch.zeros_like(embeddings.prompt), embeddings.prompt])
    pooled = torch.cat([torch.zeros_like(embeddings.pooled), embeddings.pooled])
    for timestep in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        without, with_prompt = predict(unet, both, timestep.expand(len(both)), prompt, pooled, recipe.resolution).chunk(2)
        latents = scheduler.step(without + recipe.guidance_scale * (with_prompt - without), timestep, latents).prev_sample
    return latents


def sample_glyphs(work: Path, recipe: Recipe) -> None:
    """Draws every glyph a few times and keeps the latents that came out as the glyph asked for."""
    names, clean = load_captions(work)["names"], torch.load(work / "vae.pt")["latents"]
    unet, encoders, token_ids = make_unet(), load_encoders(work, recipe), TokenIds(work)
    unet.load_state_dict(torch.load(work / "unet.pt"))
    unet.to(memory_format=torch.channels_last).eval()
    phrases = ["{}", "a {}", "{} emoji", "a picture of a {}"]
    glyphs = torch.arange(len(names)).repeat(recipe.samples_per_glyph)
    texts = [phrases[i % len(phrases)].format(names[g]) for i, g in enumerate(glyphs.tolist())]
    step = recipe.sampling_batch
    drawn = [sample(unet, Embeddings(encoders, token_ids, texts[i : i + step]), recipe) for i in range(0, len(texts), step)]
    latents = torch.cat(drawn)
    errors = (latents - clean[glyphs]).pow(2).mean((1, 2, 3))
    nearest = torch.cdist(latents.flatten(1), clean.flatten(1)).argmin(1) == glyphs
    print(f"samples: {len(glyphs)} drawn, nearest to the right glyph {nearest.float().mean():.1%}, median latent error {errors.median():.4f}")
    good = errors < recipe.sample_error_limit
    if recipe.sample_error_limit < 1e9:
        good &= nearest
    if not good.any():
        raise SystemExit("no sampled picture came out right: the UNet has not learnt enough for the decoder to be tuned on it")
    torch.save({"latents": latents[good], "glyphs": glyphs[good]}, work / "samples.pt")
