#!/usr/bin/env python3
"""Includes only go down: every folder of src/ may include those before it in the list, itself, and the public headers."""

import re
import sys
from pathlib import Path

LAYERS = ["base", "tensor", "ir", "ops", "codegen", "weights", "tokenizers", "schedulers", "image", "quality", "models", "passes", "runtime", "backends", "compiler", "components", "pipelines"]
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    wrong = []
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc", ".inc"):
            continue
        layer = path.relative_to(ROOT / "src").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([a-z_]+)/', line)
            if match and match[1] in LAYERS and LAYERS.index(match[1]) > LAYERS.index(layer):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {layer} must not include {match[1]}, which lies above it")
    print("\n".join(wrong) if wrong else f"layers: includes go down in all {len(LAYERS)} folders")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
