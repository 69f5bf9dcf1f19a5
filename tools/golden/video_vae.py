"""Golden files of AutoencoderKLCogVideoX: whole videos encoded and decoded in its batches of frames, in tiles and in slices.

    python tools/golden/video_vae.py            writes tests/models/data/video_vae

Runs Diffusers in fp32 on the CPU with weights by the rule in weights.py. The format is that of modules.py; a case has "tiling", the arguments of
enable_tiling, where that is on.
"""

from pathlib import Path

import torch

from golden_file import GoldenWriter, keep_quiet, library_versions, make_input, randn_input
from weights import component, fill

DATA = Path(__file__).resolve().parents[2] / "tests" / "models" / "data" / "video_vae"


def vae_config(**fields) -> dict:
    channels = fields.get("block_out_channels", [8, 8, 8, 8])
    return {
        "_class_name": "AutoencoderKLCogVideoX",
        "down_block_types": ["CogVideoXDownBlock3D"] * len(channels),
        "up_block_types": ["CogVideoXUpBlock3D"] * len(channels),
        "block_out_channels": channels,
        "latent_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "sample_height": 32,
        "sample_width": 32,
        "scaling_factor": 0.7,
        **fields,
    }


TINY = vae_config()
WIDE = vae_config(block_out_channels=[16, 24, 32, 40], norm_num_groups=4, latent_channels=16, layers_per_block=2, sample_height=64, sample_width=96)
HALF_TIME = vae_config(block_out_channels=[8, 12, 8], temporal_compression_ratio=2, act_fn="gelu", norm_eps=1e-5)
QUANT_CONVS = vae_config(latent_channels=3, use_quant_conv=True, use_post_quant_conv=True)
ALL_TIME = vae_config(temporal_compression_ratio=8, block_out_channels=[8, 16, 24, 8])

# name, config, latents to decode, arguments of enable_tiling, slicing
DECODES = [
    *((f"tiny_{frames}", TINY, (1, 4, frames, 3, 4), None, False) for frames in (1, 2, 3, 5, 13)),
    ("wide_batch", WIDE, (2, 16, 5, 3, 2), None, False),
    ("wide_batch_slices", WIDE, (2, 16, 3, 2, 3), None, True),
    ("half_time", HALF_TIME, (1, 4, 4, 3, 4), None, False),
    ("all_time", ALL_TIME, (1, 4, 5, 2, 3), None, False),
    ("quant_convs", QUANT_CONVS, (1, 3, 5, 3, 4), None, False),
    ("tiles", WIDE, (1, 16, 3, 6, 10), {}, False),
    ("tiles_wide_picture", WIDE, (1, 16, 4, 3, 8), {}, False),
    ("tiles_given", TINY, (1, 4, 5, 6, 5), {"tile_sample_min_height": 32, "tile_sample_min_width": 24, "tile_overlap_factor_height": 0.25, "tile_overlap_factor_width": 0.4}, False),
    ("tiles_too_large", TINY, (1, 4, 2, 2, 2), {}, False),
]

# name, config, sample to encode, arguments of enable_tiling, slicing
ENCODES = [
    *((f"tiny_{frames}", TINY, (1, 3, frames, 24, 16), None, False) for frames in (1, 5, 8, 9, 17, 49)),
    ("tiny_odd", TINY, (1, 3, 15, 21, 18), None, False),
    ("wide_batch", WIDE, (2, 3, 17, 16, 24), None, False),
    ("half_time", HALF_TIME, (1, 3, 10, 12, 8), None, False),
    ("all_time", ALL_TIME, (1, 3, 9, 16, 24), None, True),
    ("quant_convs", QUANT_CONVS, (1, 3, 17, 24, 16), None, False),
    ("tiles", WIDE, (1, 3, 9, 48, 88), {}, False),
]


def run(name, config, kind, input_name, shape, tiling, slicing, scale, call):
    model = fill(component("vae", config))
    if tiling is not None:
        model.enable_tiling(**tiling)
    if slicing:
        model.enable_slicing()
    inputs = {input_name: randn_input(name, input_name, shape, scale=scale)}
    case = {"name": f"{name}_{kind[4:]}", "kind": kind, "class": "AutoencoderKLCogVideoX", "config": config, "prefix": "", "seed": 0}
    if tiling is not None:
        case["tiling"] = tiling
    if slicing:
        case["slicing"] = True
    return {**case, "inputs": inputs}, call(model, make_input(inputs[input_name]))


def encoded(model, sample) -> dict:
    posterior = model.encode(sample).latent_dist
    return {"mean": posterior.mean, "logvar": posterior.logvar}


def main() -> None:
    keep_quiet()
    writer = GoldenWriter(DATA)
    with torch.no_grad():
        for name, config, shape, tiling, slicing in DECODES:
            writer.add(*run(name, config, "vae_decode", "latents", shape, tiling, slicing, 2.0, lambda m, x: {"sample": m.decode(x).sample}), 1024)
        for name, config, shape, tiling, slicing in ENCODES:
            writer.add(*run(name, config, "vae_encode", "sample", shape, tiling, slicing, 0.5, encoded), 512)
    writer.finish("tools/golden/video_vae.py", library_versions())


if __name__ == "__main__":
    main()
