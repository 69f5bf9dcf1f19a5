"""What all training stages share: the work folder's data, batches, bf16, progress lines."""

import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPTokenizer


def setup(seed: int, threads: int) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # trained activations run into denormals, which slow a CPU down several times


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def attention_in_fp32() -> None:
    """Lets scaled_dot_product_attention run in fp32 under autocast: its bf16 backward is several times slower on a CPU."""
    attention = F.scaled_dot_product_attention

    def in_fp32(query, key, value, *args, **kwargs):
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), *args, **kwargs)

    F.scaled_dot_product_attention = in_fp32


class Pictures:
    """The glyphs' pictures as tensors in -1..1."""

    def __init__(self, work: Path):
        data = np.load(work / "pictures.npz")
        self.images = torch.from_numpy(data["pictures"]).permute(0, 3, 1, 2)
        self.coverages = torch.from_numpy(data["coverages"])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index) -> torch.Tensor:
        return (self.images[index].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def weight(self, index) -> torch.Tensor:
        """1 on the white background, up to 3 on the glyph and two pixels around it."""
        return 1 + 2 * F.max_pool2d(self.coverages[index].float()[:, None] / 255, 5, stride=1, padding=2)


class TokenIds:
    """Texts to the two tokenizers' ids, padded to a length; both share one vocabulary and differ in padding alone."""

    def __init__(self, work: Path):
        tokenizers = [CLIPTokenizer.from_pretrained(work / name) for name in ("tokenizer", "tokenizer_2")]
        self.tokenizer, self.pads, self.known = tokenizers[0], [t.pad_token_id for t in tokenizers], {}

    def __call__(self, texts: list[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = []
        for text in texts:
            if text not in self.known:
                self.known[text] = self.tokenizer(text, truncation=True, max_length=77).input_ids
            ids = self.known[text]
            rows.append(ids if len(ids) <= length else ids[: length - 1] + [self.tokenizer.eos_token_id])
        first, second = (torch.tensor([row + [pad] * (length - len(row)) for row in rows]) for pad in self.pads)
        return first, second


class Shuffled:
    """Batches of indices, each index once a round."""

    def __init__(self, count: int, batch: int):
        self.count, self.batch, self.queue = count, batch, []

    def next(self) -> torch.Tensor:
        while len(self.queue) < self.batch:
            self.queue += torch.randperm(self.count).tolist()
        batch, self.queue = self.queue[: self.batch], self.queue[self.batch :]
        return torch.tensor(batch)


class Progress:
    """A line now and then: step, time, averages of the figures."""

    def __init__(self, stage: str, steps: int):
        self.stage, self.steps, self.start, self.averages = stage, steps, time.time(), {}

    def step(self, step: int, **figures: float) -> None:
        for key, value in figures.items():
            old = self.averages.get(key, float(value))
            self.averages[key] = old + (float(value) - old) * max(0.02, 1 / (step + 1))
        if step + 1 == self.steps or step + 1 in (1, 20) or (step + 1) % 100 == 0:
            line = "  ".join(f"{key} {value:.4f}" for key, value in self.averages.items())
            print(f"{self.stage}: step {step + 1}/{self.steps}  {time.time() - self.start:.0f} s  {line}", flush=True)


def load_captions(work: Path) -> dict:
    return json.loads((work / "captions.json").read_text(encoding="utf-8"))
