#!/usr/bin/env python3
"""Includes only go down: every folder of src/ may include those before it in the list, itself, and the public headers.

Above backends/, and in the programs, nothing names a device: they take one from the list, backends/devices.h."""

import re
import sys
from pathlib import Path

LAYERS = ["base", "tensor", "ir", "ops", "codegen", "weights", "tokenizers", "schedulers", "image", "quality", "models", "passes", "runtime", "backends", "compiler", "components", "families", "pipelines"]
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    wrong = []
    above_devices = LAYERS[LAYERS.index("backends") + 1 :] + ["cli"]
    for path in sorted([*(ROOT / "src").rglob("*"), *(ROOT / "apps").rglob("*")]):
        if path.suffix not in (".h", ".cc", ".inc"):
            continue
        layer = path.relative_to(ROOT).parts[1]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if layer in above_devices and re.search(r'"backends/(?!devices\.h")|\b(cpu|ref)::', line.split("//")[0] if "#include" not in line else line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {layer} names a device: it takes one from backends/devices.h")
            match = re.match(r'\s*#\s*include\s+"([a-z_]+)/', line)
            if match and layer in LAYERS and match[1] in LAYERS and LAYERS.index(match[1]) > LAYERS.index(layer):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {layer} must not include {match[1]}, which lies above it")
    print("\n".join(wrong) if wrong else f"layers: includes go down in all {len(LAYERS)} folders")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
