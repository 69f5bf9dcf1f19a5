"""The autoencoder: training, whitening of its latents, and the decoder's second training on sampled latents."""

from pathlib import Path

import torch
import torch.nn.functional as F

from common import Pictures, Progress, Shuffled, autocast
from networks import LATENT_CHANNELS, SCALING_FACTOR, make_vae
from optimizer import Average, MuonAdamW, learning_rate_factor
from recipe import Recipe


def picture_loss(decoded: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Absolute and squared error on the glyph first, edges, and the error of the picture seen from further away."""
    error = decoded - target
    pixels = (error.abs() * weight).mean() + (error * error * weight).mean()
    edges = (error[..., 1:, :] - error[..., :-1, :]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()
    half = F.avg_pool2d(error, 2)
    return pixels + 0.5 * edges + 0.5 * (half.abs().mean() + F.avg_pool2d(half, 2).abs().mean())


def psnr(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """dB for each picture of -1..1."""
    return -10 * torch.log10(((decoded.clamp(-1, 1) - target) / 2).pow(2).mean((1, 2, 3)))


def adam_only(name: str) -> bool:
    """First and last convolutions and the 1x1 ones around the latents: their rows are pixels, not features."""
    return "conv_in" in name or "quant" in name or name.endswith(("coder.conv_out.weight", "coder.conv_out.bias"))


def train(work: Path, recipe: Recipe) -> None:
    pictures = Pictures(work)
    vae = make_vae().to(memory_format=torch.channels_last)
    optimizer = MuonAdamW(vae, recipe.vae_learning_rate, adam_only=adam_only)
    average, batches = Average(vae, 0.995), Shuffled(len(pictures), recipe.vae_batch)
    progress = Progress("vae", recipe.vae_steps)
    for step in range(recipe.vae_steps):
        index = batches.next()
        target = pictures.batch(index)
        with autocast():
            mean, logvar = vae.quant_conv(vae.encoder(target)).float().chunk(2, 1)
            logvar = logvar.clamp(-12, 4)
            noise = torch.randn(len(index), 1, 1, 1).abs() * recipe.vae_latent_noise
            latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean) + noise * torch.randn_like(mean)
            decoded = vae.decoder(vae.post_quant_conv(latents)).float()
        kl = 0.5 * (mean * mean + logvar.exp() - 1 - logvar).mean()
        loss = picture_loss(decoded, target, pictures.weight(index)) + recipe.vae_kl_weight * kl
        loss.backward()
        optimizer.step(learning_rate_factor(step, recipe.vae_steps, warmup=0.03, decay=0.7))
        average.step()
        progress.step(step, loss=loss.detach(), kl=kl.detach())
    average.apply()
    vae.eval()
    whiten(vae, pictures)
    latents = encode_all(vae, pictures) * SCALING_FACTOR
    decoded = torch.cat([decode(vae, latents[i : i + 16]) for i in range(0, len(latents), 16)])
    quality = psnr(decoded, pictures.batch(torch.arange(len(pictures))))
    print(f"vae: PSNR mean {quality.mean():.2f} dB, worst {quality.min():.2f} dB; scaled latents std {latents.std():.3f}")
    torch.save({"vae": vae.state_dict(), "latents": latents}, work / "vae.pt")


@torch.no_grad()
def encode_all(vae, pictures: Pictures) -> torch.Tensor:
    """Posterior means [N, 4, 16, 16] of all glyphs."""
    indices = torch.arange(len(pictures)).split(16)
    return torch.cat([vae.encode(pictures.batch(i)).latent_dist.mean for i in indices])


@torch.no_grad()
def decode(vae, scaled_latents: torch.Tensor) -> torch.Tensor:
    return vae.decode((scaled_latents / SCALING_FACTOR).contiguous(memory_format=torch.channels_last)).sample


@torch.no_grad()
def whiten(vae, pictures: Pictures) -> None:
    """Rewrites quant_conv and post_quant_conv, both 1x1, so that the latents times SCALING_FACTOR have mean 0, variance 1 and no correlation
    between channels, while the decoded pictures stay the same."""
    samples = encode_all(vae, pictures).permute(1, 0, 2, 3).flatten(1).double()
    mean, covariance = samples.mean(1), torch.cov(samples)
    values, vectors = torch.linalg.eigh(covariance)
    whitening = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    quant, post = vae.quant_conv, vae.post_quant_conv
    c = LATENT_CHANNELS
    weight, bias = quant.weight.double().flatten(1), quant.bias.double().clone()
    weight[:c] = whitening @ weight[:c] / SCALING_FACTOR
    bias[:c] = whitening @ (bias[:c] - mean) / SCALING_FACTOR
    bias[c:] += 2 * torch.log(whitening.diagonal().abs() / SCALING_FACTOR)  # log-variances follow the diagonal
    quant.weight.copy_(weight.view_as(quant.weight))
    quant.bias.copy_(bias)
    weight, bias = post.weight.double().flatten(1), post.bias.double()
    post.weight.copy_((weight @ torch.linalg.inv(whitening) * SCALING_FACTOR).view_as(post.weight))
    post.bias.copy_(bias + weight @ mean)


def tune_decoder(work: Path, recipe: Recipe) -> None:
    """Fits the decoder, the encoder frozen, to latents as the UNet samples them (samples.pt), with true latents among them."""
    pictures, state, samples = Pictures(work), torch.load(work / "vae.pt"), torch.load(work / "samples.pt")
    vae = make_vae()
    vae.load_state_dict(state["vae"])
    vae.to(memory_format=torch.channels_last).eval()
    sampled, glyphs, latents = samples["latents"], samples["glyphs"], state["latents"]
    probe = torch.arange(min(len(sampled), 128))
    before = psnr(decode(vae, sampled[probe]), pictures.batch(glyphs[probe])).mean()
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    optimizer = MuonAdamW(vae, recipe.decoder_learning_rate, 3e-4, adam_only)
    average = Average(vae, 0.99)
    progress = Progress("decoder", recipe.decoder_steps)
    true_count = recipe.decoder_batch // 3
    for step in range(recipe.decoder_steps):
        some, true = torch.randint(len(sampled), (recipe.decoder_batch - true_count,)), torch.randint(len(latents), (true_count,))
        noisy = latents[true] + 0.03 * torch.randn_like(latents[true])
        index = torch.cat([glyphs[some], true])
        scaled = torch.cat([sampled[some], noisy]) / SCALING_FACTOR
        with autocast():
            decoded = vae.decoder(vae.post_quant_conv(scaled.contiguous(memory_format=torch.channels_last))).float()
        loss = picture_loss(decoded, pictures.batch(index), pictures.weight(index))
        loss.backward()
        optimizer.step(learning_rate_factor(step, recipe.decoder_steps, warmup=0.03, decay=0.9, floor=0.0))
        average.step()
        progress.step(step, loss=loss.detach())
    average.apply()
    after = psnr(decode(vae, sampled[probe]), pictures.batch(glyphs[probe])).mean()
    print(f"decoder: PSNR of sampled latents {before:.2f} -> {after:.2f} dB")
    torch.save({"vae": vae.state_dict(), "latents": latents}, work / "vae_tuned.pt")
