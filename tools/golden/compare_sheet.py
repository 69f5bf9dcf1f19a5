#!/usr/bin/env python3
"""Draws a sheet's prompts with stock Diffusers and says how far Vivace's pictures are from them, picture by picture.

    build/vivace sheet --from assets/emoji-sheets/a.txt --seed 100 --num-inference-steps 25 --columns 6 -o a.npy
    python tools/golden/compare_sheet.py assets/emoji-sheets/a.txt a.npy

The settings are those of assets/emoji-sheets: fp32, 25 steps, guidance 5, a CPU generator a picture seeded with 100 + its index.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

SIZE, PADDING, COLUMNS, BATCH = 128, 4, 6, 12


def main() -> int:
    prompts = Path(sys.argv[1]).read_text().splitlines()
    sheet = np.load(sys.argv[2])
    torch.set_num_threads(2)
    model = Path(__file__).resolve().parents[2] / "assets" / "emoji-xl"
    pipe = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    worst = []
    for begin in range(0, len(prompts), BATCH):
        batch = prompts[begin : begin + BATCH]
        generators = [torch.Generator().manual_seed(100 + begin + i) for i in range(len(batch))]
        images = pipe(batch, num_inference_steps=25, guidance_scale=5, generator=generators, height=SIZE, width=SIZE, output_type="np").images
        for i, expected in enumerate(images, begin):
            y, x = (PADDING + (i // COLUMNS) * (SIZE + PADDING), PADDING + (i % COLUMNS) * (SIZE + PADDING))
            difference = np.abs(sheet[y : y + SIZE, x : x + SIZE] - expected)
            worst.append((float(difference.max()), float(difference.mean()), prompts[i]))
    for largest, mean, prompt in sorted(worst, reverse=True)[:5]:
        print(f"{largest:.2e} at most, {mean:.2e} on average: {prompt}")
    print(f"{len(worst)} pictures; the worst pixel is {max(worst)[0]:.2e} off (of 1)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
