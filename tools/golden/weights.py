"""Deterministic random weights, the same in Python and in C++, so that golden files need not store weights.

The rule. A tensor's values follow from its full name in the checkpoint, its shape and a global seed (default 0), and from nothing else:

    seed  = FNV-1a-32(UTF-8 name) XOR global_seed             FNV-1a: h = 2166136261; for each byte: h = ((h ^ byte) * 16777619) mod 2^32
    u     = torch.rand(shape, generator=torch.Generator().manual_seed(seed))      float32, row-major, in the order drawn
    r     = 2 * u - 1                                          exact in float32; uniform in [-1, 1)
    value = 0.5 * r                                            rank >= 2 and the name ends in "embedding.weight" (token and position tables)
          = float32(sqrt(3 / fan_in)) * r                      any other tensor of rank >= 2; fan_in = product of the dims after the first;
                                                               square root in float64, rounded once. Gives weights of variance 1 / fan_in
          = 1 + 0.1 * r                                        rank 1 and the name ends in ".weight" (norms)
          = 0.1 * r                                            any other tensor of rank 1 (biases)

All arithmetic is float32. For another storage dtype the float32 value is rounded to nearest even. Buffers that are not floating point
(position_ids) are not part of a checkpoint and are left alone. torch.rand draws mt19937 words w and returns (w & 0xffffff) * 2^-24.

"Full name" is the key in the component's published safetensors file: for text encoders with the "text_model." prefix, which
transformers 5 leaves out of CLIPTextModel's own state_dict (`checkpoint_names` puts it back).

As a program it writes a whole checkpoint from a folder of configs:  weights.py CONFIG_DIR OUT_DIR [--seed N] [--dtype float32|float16|bfloat16]
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch

WEIGHT_FILES = {
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
    "transformer": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "controlnet": "diffusion_pytorch_model.safetensors",
}


def fnv1a(name: str) -> int:
    h = 2166136261
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    return h


def random_tensor(name: str, shape, seed: int = 0) -> torch.Tensor:
    """The rule above for one tensor, float32."""
    generator = torch.Generator().manual_seed(fnv1a(name) ^ seed)
    r = 2 * torch.rand(tuple(shape), generator=generator, dtype=torch.float32) - 1
    if len(shape) >= 2:
        if name.endswith("embedding.weight"):
            return 0.5 * r
        return r * torch.tensor(math.sqrt(3.0 / math.prod(shape[1:])), dtype=torch.float32)
    return 1 + 0.1 * r if name.endswith(".weight") else 0.1 * r


def checkpoint_names(module: torch.nn.Module) -> dict[str, str]:
    """state_dict key -> name in the published checkpoint, for every floating point tensor."""
    keys = [k for k, v in module.state_dict().items() if v.is_floating_point()]
    if "shared.weight" in keys:  # T5's embedding, saved once
        keys.remove("encoder.embed_tokens.weight")
    if type(module).__name__ == "CLIPTextModel":
        return {k: k if k.startswith("text_model.") else "text_model." + k for k in keys}
    return {k: k for k in keys}


@torch.no_grad()
def fill(module: torch.nn.Module, prefix: str = "", seed: int = 0) -> torch.nn.Module:
    """Gives every tensor of `module` its value under the rule, its full name being prefix + checkpoint name; returns it in eval mode."""
    tensors = module.state_dict()
    for key, name in checkpoint_names(module).items():
        tensors[key].copy_(random_tensor(prefix + name, tensors[key].shape, seed))
    return module.eval()


def component(kind: str, config: dict, name: str | None = None) -> torch.nn.Module:
    """A component of a pipeline folder (`kind` is its folder name) from the contents of its config.json, weights not yet set. `name`: a text encoder's class,
    as model_index.json has it; default: what the config says."""
    import diffusers
    import transformers

    if kind in ("unet", "vae", "transformer", "controlnet"):
        name = config.get("_class_name", {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}.get(kind))
        return getattr(diffusers, name).from_config(config)
    name = name or config["architectures"][0]
    config_class = {"T5EncoderModel": "T5Config", "UMT5EncoderModel": "UMT5Config"}.get(name, "CLIPTextConfig")
    return getattr(transformers, name)(getattr(transformers, config_class).from_dict(config))


def write_checkpoint(config_dir: Path, out_dir: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
    """Copies the folder and adds each component's weights in one safetensors file."""
    from safetensors.torch import save_file

    shutil.copytree(config_dir, out_dir, dirs_exist_ok=True)
    index = config_dir / "model_index.json"
    classes = json.loads(index.read_text()) if index.exists() else {}
    for kind, file in WEIGHT_FILES.items():
        if not (config_dir / kind / "config.json").exists():
            continue
        module = fill(component(kind, json.loads((config_dir / kind / "config.json").read_text()), classes.get(kind, [None, None])[1]), seed=seed)
        tensors = module.state_dict()
        named = {name: tensors[key].to(dtype).contiguous() for key, name in checkpoint_names(module).items()}
        save_file(named, out_dir / kind / file, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint with weights by the rule from a folder of configs.")
    parser.add_argument("config_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    args = parser.parse_args()
    write_checkpoint(args.config_dir, args.out_dir, args.seed, getattr(torch, args.dtype))


if __name__ == "__main__":
    main()
