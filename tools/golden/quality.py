#!/usr/bin/env python3
"""Check values of tests/quality: PSNR and SSIM by scikit-image, MDSI by piq (pip install scikit-image piq torch)."""

import numpy as np
import piq
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def picture(height, width, noise):
    """As picture() in tests/quality/quality_test.cc: triangle waves, and a texture of `noise` steps either way."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    wave = np.abs((3 * x + 2 * y + 40 * c) % 200 - 100) + np.abs((5 * y - x + 1000) % 150 - 75)
    texture = (31 * x + 17 * y + 7 * c) % (2 * noise + 1) - noise
    return np.clip(wave + texture + 20, 0, 255).astype(np.uint8).astype(np.float32) / 255


def main() -> None:
    for height, width, noise in ((40, 52, 12), (97, 64, 60), (520, 600, 30)):
        reference, image = picture(height, width, 0), picture(height, width, noise)
        tensors = [torch.from_numpy(p).double().permute(2, 0, 1)[None] for p in (image, reference)]
        psnr = peak_signal_noise_ratio(reference.astype(np.float64), image.astype(np.float64), data_range=1)
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "channel_axis": 2}
        ssim = structural_similarity(reference.astype(np.float64), image.astype(np.float64), **settings)
        print(f"{{{height}, {width}, {noise}, {psnr:.9f}, {ssim:.9f}, {piq.mdsi(*tensors).item():.9f}}},")


if __name__ == "__main__":
    main()
