"""A LoRA for emoji-xl that draws cyanotypes: blue prints on white paper.

    python tools/train_emoji/train_lora.py assets/emoji-xl-cyanotype.safetensors                    about five minutes on two idle cores

The committed one is of --steps 80 --batch 4 --glyphs 24: its blue is faded, and an apple keeps some of its red.
Needs torch, diffusers, peft. It learns from the model itself: emoji-xl draws some of its glyphs, their brightness becomes a shade of blue, and the UNet's
LoRA learns to draw that. The file is in fp16, in the names of PEFT.
"""

import argparse
from pathlib import Path

import torch
from common import Progress, attention_in_fp32, autocast, setup
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

RANK, LEARNING_RATE = 4, 3e-3
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2"]
INK, PAPER = (0.03, 0.12, 0.40), (1.0, 1.0, 1.0)


def cyanotype(pictures: torch.Tensor) -> torch.Tensor:
    """[N, 3, H, W] in 0..1."""
    brightness = (pictures * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    ink, paper = (torch.tensor(c).view(1, 3, 1, 1) for c in (INK, PAPER))
    return ink + (paper - ink) * brightness


@torch.no_grad()
def examples(pipe, names: list[str], batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled latents of cyanotypes, prompt_embeds, text_embeds."""
    latents, prompts, pooled = [], [], []
    for i in range(0, len(names), batch):
        some = names[i : i + batch]
        seeds = [torch.Generator().manual_seed(i + k) for k in range(len(some))]
        pictures = pipe(some, num_inference_steps=12, output_type="pt", generator=seeds).images
        latents.append(pipe.vae.encode(cyanotype(pictures) * 2 - 1).latent_dist.mean * pipe.vae.config.scaling_factor)
        embeds, _, text, _ = pipe.encode_prompt(some, do_classifier_free_guidance=False)
        prompts.append(embeds)
        pooled.append(text)
    return tuple(torch.cat(parts) for parts in (latents, prompts, pooled))


def train(pipe, names: list[str], steps: int, batch: int) -> None:
    clean, prompts, pooled = examples(pipe, names, batch)
    unet = pipe.unet.requires_grad_(False).to(memory_format=torch.channels_last)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, LEARNING_RATE, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    alphas = pipe.scheduler.alphas_cumprod
    signal, noise_level = alphas.sqrt().view(-1, 1, 1, 1), (1 - alphas).sqrt().view(-1, 1, 1, 1)
    weights = ((1 - alphas) / alphas).sqrt()  # as for emoji-xl itself (train_unet.py)
    weights = weights / weights.mean()
    side = 8 * clean.shape[-1]
    time_ids = torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32).expand(batch, -1)
    progress = Progress("lora", steps)
    for step in range(steps):
        rows = torch.randint(len(clean), (batch,))
        kept = (torch.rand(batch) >= 0.1).float()
        timesteps = ((torch.arange(batch) + torch.rand(batch)) * (1000 / batch)).long()
        noise = torch.randn_like(clean[rows])
        noisy = (signal[timesteps] * clean[rows] + noise_level[timesteps] * noise).contiguous(memory_format=torch.channels_last)
        added = {"text_embeds": pooled[rows] * kept[:, None], "time_ids": time_ids}
        with autocast():
            predicted = unet(noisy, timesteps, prompts[rows] * kept[:, None, None], added_cond_kwargs=added, return_dict=False)[0].float()
        loss = ((predicted - noise).pow(2).mean((1, 2, 3)) * weights[timesteps]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.step(step, loss=loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parents[2] / "assets" / "emoji-xl")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--glyphs", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    setup(0, options.threads)
    attention_in_fp32()
    pipe = StableDiffusionXLPipeline.from_pretrained(options.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    names = (options.model / "names.txt").read_text(encoding="utf-8").split("\n")[:-1]
    train(pipe, names[:: max(1, len(names) // options.glyphs)][: options.glyphs], options.steps, options.batch)
    lora = get_peft_model_state_dict(pipe.unet)
    save_file({f"unet.{name}": t.to(torch.float16).contiguous() for name, t in lora.items()}, options.out, metadata={"format": "pt"})
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, {len(lora)} tensors")


if __name__ == "__main__":
    main()
