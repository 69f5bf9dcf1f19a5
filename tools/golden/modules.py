"""Golden files for single modules: whole components (text encoders, UNets, transformers, VAE halves) and the blocks they are made of.

    python tools/golden/modules.py            writes tests/models/data
    python tools/golden/modules.py NAME ...   writes the cases of these names alone, and keeps the others

Runs Diffusers and transformers in fp32 on the CPU with weights by the rule in weights.py. Formats: README.md in this folder.
"""

import sys
import warnings
from pathlib import Path

import torch

from blocks import block_cases
from components import text_cases, tiny_cases, unet_cases, vae_cases
from golden_file import GoldenWriter, library_versions
from transformer_components import aura_flow_cases, cogvideox_cases, flux_cases, t5_cases

DATA = Path(__file__).resolve().parents[2] / "tests" / "models" / "data"


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    names = sys.argv[1:]
    writer = GoldenWriter(DATA, keep=bool(names))
    with torch.no_grad():
        for cases, max_values in ((text_cases, 512), (unet_cases, 1024), (vae_cases, 1024), (tiny_cases, 1024), (block_cases, 512), (t5_cases, 512), (flux_cases, 512), (aura_flow_cases, 512), (cogvideox_cases, 512)):
            for case, outputs in cases():
                if names and case["name"] not in names:
                    continue
                writer.add(case, outputs, max_values)
                print(f"{case['name']:40}", " ".join(f"{k} {v['rms']:.3g}" for k, v in writer.cases[-1]["outputs"].items()))
    writer.finish("tools/golden/modules.py", library_versions())


if __name__ == "__main__":
    main()
