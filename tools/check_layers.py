#!/usr/bin/env python3
"""Includes only go down: every folder of src/ may include those before it in the list, itself, and the public headers. Of a folder that has doors,
the folders above it (and the programs) may include these headers alone; the rest is its own. The folders without doors are vocabulary, all of it.

Above backends/ nothing names a device: one is taken from the list, backends/devices.h. Waits for a device are counted in one place, and JSON is read and
written by one file."""

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

LAYERS = ["base", "tensor", "ir", "ops", "codegen", "weights", "tokenizers", "schedulers", "image", "video", "quality", "models", "passes", "runtime", "backends", "compiler", "components", "families", "pipelines", "c_api"]
DOORS = {
    "backends": {"devices.h"},
    "codegen": {"cuda_source.h"},
    "compiler": {"compile.h", "measure.h", "regions.h", "search_text.h", "symbols.h", "tuning_store.h"},
    "families": {"common/arguments.h", "common/clip_prompt.h", "common/packed_latents.h", "family.h", "parts.h", "predictor.h"},
    "models": {"*/model.h", "*/tokens.h", "common/random_weights.h"},
    "passes": {"passes.h"},
    "tokenizers": {"clip_tokenizer.h", "tokenizer.h"},
    "schedulers": {"numeric.h", "scheduler_base.h", "scheduler_kind.h", "step_program.h"},
    "weights": {"file_layer.h", "known_checkpoints.h", "lora.h", "name_list.h", "safetensors.h", "spellings.h", "token_embeddings.h", "weight_map.h", "weight_origins.h", "weight_source.h", "weight_stack.h"},
}
ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = len(LAYERS)  # they lie above all


def check(path: Path, layer: str) -> list[str]:
    """Of one file."""
    height = LAYERS.index(layer) if layer in LAYERS else PROGRAMS
    wrong = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        place = f"{path.relative_to(ROOT)}:{number}: "
        if height > LAYERS.index("backends") and re.search(r"(?<!backends::)\b(cpu|cuda|ref)::", line.split("//")[0]):
            wrong.append(f"{place}{layer} names a device: it takes one from backends/devices.h")
        if path.name != "device.cc" and re.search(r"\+\+[\w.>-]*host_device_syncs|host_device_syncs\s*(\+\+|\+=)", line):
            wrong.append(f"{place}a wait is counted where it waits, in Stream::wait() alone")
        if path.name != "json.cc" and re.search(r"\b(ordered_json|[jJ]son)::(parse|accept|sax_parse)\(|(\.|->)dump\(", line):
            wrong.append(f"{place}JSON is read and written by base/json.h alone: its library's templates take seconds of compiling")
        match = re.match(r'\s*#\s*include\s+"([a-z_]+)/([^"]+)"', line)
        if not match or match[1] not in LAYERS or match[1] == layer:
            continue
        if LAYERS.index(match[1]) > height:
            wrong.append(f"{place}{layer} must not include {match[1]}, which lies above it")
        if not any(fnmatch(match[2], door) for door in DOORS.get(match[1], {match[2]})):
            wrong.append(f"{place}{match[2]} is {match[1]}'s own: its doors are {', '.join(sorted(DOORS[match[1]])) or 'none'}")
    return wrong


def main() -> int:
    wrong = [f"src/{p.name} is no folder of the list in tools/check_layers.py" for p in (ROOT / "src").iterdir() if p.is_dir() and p.name not in LAYERS]
    for path in sorted([*(ROOT / "src").rglob("*"), *(ROOT / "apps").rglob("*")]):
        if path.suffix in (".h", ".cc", ".inc"):
            wrong += check(path, path.relative_to(ROOT).parts[1])
    print("\n".join(wrong) if wrong else f"layers: includes go down in all {len(LAYERS)} folders, through doors in {len(DOORS)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
