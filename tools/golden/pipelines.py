"""Golden files for whole pipeline calls.

    python tools/golden/pipelines.py          writes tests/pipelines/data
    python tools/golden/pipelines.py NAME ... writes the cases of these names alone, and keeps the others

Runs StableDiffusionXLPipeline and StableDiffusionPipeline in fp32 on the CPU: on tiny checkpoints whose configs are in tests/pipelines/data/configs
and whose weights follow the rule in weights.py, and on assets/emoji-xl. The calls are in pipeline_cases.py, the formats in README.md.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

from golden_file import GoldenWriter, keep_quiet, library_versions, make_input
from pipeline_cases import CASES, CONFIGS, EMOJI
from weights import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "pipelines" / "data"


def write_configs(data: Path, configs: dict) -> None:
    shutil.rmtree(data / "configs", ignore_errors=True)
    for name, files in configs.items():
        for file, content in files.items():
            path = data / "configs" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n")


def make_checkpoint(case: dict, folder: Path) -> Path:
    """The checkpoint a case names: emoji-xl itself, or a config folder with the case's overrides, weights and emoji-xl's tokenizers."""
    if case["checkpoint"] == EMOJI:
        return ROOT / EMOJI
    configs = folder / "configs"
    shutil.copytree(DATA / case["checkpoint"], configs)
    for file, fields in case.get("overrides", {}).items():
        path = configs / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    for entry in ("tokenizer", "tokenizer_2"):
        if entry in json.loads((configs / "model_index.json").read_text()):
            shutil.copytree(ROOT / EMOJI / entry, configs / entry)
    write_checkpoint(configs, folder / "checkpoint", case.get("weights_seed", 0))
    return folder / "checkpoint"


def call_arguments(call: dict) -> dict:
    """JSON to what the pipeline takes: seeds to generators, size lists to tuples, described latents to a tensor."""
    args = dict(call)
    if "seed" in call["generator"]:
        args["generator"] = torch.Generator().manual_seed(call["generator"]["seed"])
    else:
        args["generator"] = [torch.Generator().manual_seed(s) for s in call["generator"]["seeds"]]
    for key, value in call.items():
        if key.endswith(("_size", "_top_left")):
            args[key] = tuple(value)
        if key == "latents" or key.endswith("prompt_embeds"):
            args[key] = make_input(value)
    return args


def with_scheduler(pipe, case: dict) -> dict:
    """Puts the case's own scheduler into the pipeline; the case with all of its fields."""
    if "scheduler" not in case:
        return case
    fields = {k: v for k, v in case["scheduler"].items() if k != "_class_name"}
    pipe.scheduler = getattr(diffusers, case["scheduler"]["_class_name"]).from_config(pipe.scheduler.config, **fields)
    full = {k: v for k, v in pipe.scheduler.config.items() if not k.startswith("_")}
    return {**case, "scheduler": {"_class_name": type(pipe.scheduler).__name__, **full}}


def run_case(case: dict, dtype: torch.dtype = torch.float32) -> tuple[dict, dict]:
    """One pipeline call; returns the completed case and its outputs: "images" [N, H, W, 3] in 0..1 and "latents" after the last step."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline_class = getattr(diffusers, case["pipeline"])
        pipe = pipeline_class.from_pretrained(make_checkpoint(case, Path(folder)), torch_dtype=torch.float32).to(dtype)
    pipe.set_progress_bar_config(disable=True)
    if not hasattr(pipe.text_encoder, "text_model"):  # transformers 5 dropped the level that clip_skip of StableDiffusionPipeline goes through
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    case = with_scheduler(pipe, case)
    last = {}

    def keep_latents(_pipe, _step, _timestep, tensors):
        last["latents"] = tensors["latents"].clone()
        return tensors

    args = call_arguments(case["call"])
    images = pipe(**{"output_type": "np", **args}, callback_on_step_end=keep_latents).images
    outputs = {"latents": last["latents"]}
    if args.get("output_type") != "latent":
        outputs["images"] = torch.from_numpy(images)
    return case, outputs


def main() -> None:
    keep_quiet()
    names = sys.argv[1:]
    if not names:
        write_configs(DATA, CONFIGS)
    writer = GoldenWriter(DATA, keep=bool(names))
    for case in CASES:
        if names and case["name"] not in names:
            continue
        case, outputs = run_case(case)
        real = case["checkpoint"] == EMOJI
        if real:
            picture = (outputs["images"][0].numpy() * 255).round().astype(np.uint8)
            Image.fromarray(picture).save(DATA / f"{case['name']}.png", optimize=True)
        writer.add(case, outputs, 1024 if real else 640)
        images = outputs.get("images")
        clipped = 0.0 if images is None else float(((images <= 0) | (images >= 1)).float().mean())
        print(f"{case['name']:36} latents rms {writer.cases[-1]['outputs']['latents']['rms']:8.3f}  clipped pixels {clipped:.2f}", flush=True)
    writer.finish("tools/golden/pipelines.py", library_versions())


if __name__ == "__main__":
    main()
