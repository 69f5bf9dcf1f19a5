"""Golden files of GGUF: what the gguf package makes of blocks of every format, and two small models as it writes them.

    pip install gguf
    python tools/golden/gguf_files.py

Writes
  tests/weights/data/block_formats.safetensors   a format each: "<format>.blocks", bytes drawn at random but for finite scales, and "<format>.values", what they hold
  tests/pipelines/data/gguf/flux.gguf, t5.gguf   the transformer and the T5 of the tiny FLUX "dev" (weights by the rule of weights.py): Black Forest Labs' names and
                                                 llama.cpp's, matrices in a format each, by turns, the rest float32, float16 and bfloat16
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import quants
from safetensors.numpy import save_file

from single_files import flux_rows, make
from weights import checkpoint_names, component, fill

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "weights" / "data"
PIPELINES = ROOT / "tests" / "pipelines" / "data" / "gguf"
CONFIGS = ROOT / "tests" / "transformer_pipelines" / "data" / "configs" / "dev"
# Where a block's float16 numbers lie.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def block_formats() -> dict:
    rng = np.random.default_rng(0)
    result = {}
    for name, halves in HALVES.items():
        kind = Type[name]
        values, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (2, 2 * size), dtype=np.uint8)
        for block in range(2):
            for at in halves:
                blocks[:, block * size + at : block * size + at + 2] = rng.normal(0, 1, (2, 1)).astype(np.float16).view(np.uint8)
        blocks[0, 0 if 0 in halves else halves[0]] = 1  # a subnormal scale
        blocks[0, (0 if 0 in halves else halves[0]) + 1] = 0
        result[name.lower() + ".blocks"] = blocks
        result[name.lower() + ".values"] = quants.dequantize(blocks, kind)
        assert result[name.lower() + ".values"].shape == (2, 2 * values)
    every = np.arange(256, dtype=np.uint8)[None]
    for name, dtype in (("float8_e4m3", torch.float8_e4m3fn), ("float8_e5m2", torch.float8_e5m2)):
        result[name + ".blocks"] = every
        result[name + ".values"] = torch.from_numpy(every).view(dtype).to(torch.float32).numpy()
    return result


def t5_name(name: str) -> str:
    for ours, theirs in (("encoder.block.", "enc.blk."), ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"), ("layer.0.SelfAttention.", "attn_"),
                         ("layer.0.layer_norm", "attn_norm"), ("layer.1.DenseReluDense.wi_0", "ffn_gate"), ("layer.1.DenseReluDense.wi_1", "ffn_up"),
                         ("layer.1.DenseReluDense.wo", "ffn_down"), ("layer.1.layer_norm", "ffn_norm"), ("encoder.final_layer_norm", "enc.output_norm"), ("shared", "token_embd")):
        name = name.replace(ours, theirs)
    return name


def weights(part: str) -> tuple[dict, dict]:
    config = json.loads((CONFIGS / part / "config.json").read_text())
    module = fill(component(part, config))
    state = module.state_dict()
    return config, {new: state[old] for old, new in checkpoint_names(module).items()}


def write(path: Path, architecture: str, tensors: dict) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.name", "tiny")
    writer.add_array("tokenizer.ggml.tokens", ["<pad>", "</s>"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 0.5])
    kinds, plain = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0], [Type.F32, Type.F16, Type.BF16]
    for i, (name, tensor) in enumerate(tensors.items()):
        x = tensor.numpy()
        kind = kinds[i % len(kinds)] if x.ndim == 2 and x.shape[1] % 32 == 0 else plain[i % len(plain)]
        writer.add_tensor(name, quants.quantize(x, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    save_file(block_formats(), DATA / "block_formats.safetensors")
    config, transformer = weights("transformer")
    write(PIPELINES / "flux.gguf", "flux", {name: make(how, [transformer[w] for w in parts]) for name, how, parts in flux_rows(transformer, config, "")})
    write(PIPELINES / "t5.gguf", "t5encoder", {t5_name(name): tensor for name, tensor in weights("text_encoder_2")[1].items()})


if __name__ == "__main__":
    sys.exit(main())
