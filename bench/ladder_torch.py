#!/usr/bin/env python3
"""The ladder of `vivace bench --ladder` in Diffusers and torchao, on one machine with the same model folder, and both side by side.

    python bench/ladder_torch.py --model assets/emoji-xl "a red apple" --num-inference-steps 30 --runs 3 --json torch.json
    build/vivace bench --ladder "a red apple" --num-inference-steps 30 --runs 3 --json vivace.json
    python bench/ladder_torch.py --table torch.json vivace.json

As in Vivace's, every turn is a process of its own, the rounds go through the rungs in turn, and the report has the same form. The caches of
torch.compile are empty at each rung's first turn and full at the others: cold start and warm start.

Needs: pip install torch diffusers transformers accelerate torchao scikit-image piq
"""

import argparse
import base64
import datetime
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Name, dtype (None: --dtype), and what is switched on.
RUNGS = [
    ("fp32, math attention", "fp32", ["math"]),
    ("fp32", "fp32", []),
    ("{dtype}, math attention", None, ["math"]),
    ("{dtype}, SDPA", None, []),
    ("+ compile", None, ["compile"]),
    ("+ fused QKV", None, ["compile", "fuse"]),
    ("+ int8 dynamic", None, ["compile", "fuse", "int8"]),
]
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
PICTURES = 4  # kept in the report


# ---------------------------------------------------------------------------------------------- one turn, in a process of its own


def load(args, dtype, switches):
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(args.threads)
    pipe = DiffusionPipeline.from_pretrained(args.model, torch_dtype=getattr(torch, DTYPES[dtype]))
    pipe.set_progress_bar_config(disable=True)
    if "math" in switches:  # matmul, softmax, matmul, as before PyTorch 2
        pipe.unet.set_default_attn_processor()
        pipe.vae.set_default_attn_processor()
    if "fuse" in switches:
        pipe.fuse_qkv_projections()
    if "int8" in switches:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(pipe.unet, Int8DynamicActivationInt8WeightConfig())
    if "compile" in switches:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
        pipe.unet = torch.compile(pipe.unet, fullgraph=True)
        pipe.vae.decode = torch.compile(pipe.vae.decode, fullgraph=True)
    return pipe


def draw(pipe, args, prompt, seed):
    """The picture as float32 [H, W, 3], the latents after each step, the seconds of each step and of it all."""
    import torch

    latents, marks = [], []

    def on_step(_pipe, _step, _timestep, state):
        marks.append(time.perf_counter())
        latents.append(state["latents"].float().clone())
        return state

    call = {"num_inference_steps": args.num_inference_steps, "guidance_scale": args.guidance_scale, "output_type": "np"}
    call |= {side: getattr(args, side) for side in ("height", "width") if getattr(args, side)}
    with torch.no_grad():
        begin = time.perf_counter()
        image = pipe(prompt, generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=on_step, **call).images[0]
    seconds = time.perf_counter() - begin
    # The first step's beginning is not known: the callback marks ends.
    return image, latents, [b - a for a, b in zip(marks, marks[1:])] or [seconds], seconds


def worker(args) -> None:
    import numpy as np

    name, dtype, switches = RUNGS[args.worker]
    pipe = load(args, dtype or args.dtype, switches)
    draw(pipe, args, args.prompts[0], args.seed)
    print(json.dumps({"first": True}), flush=True)
    image, _, steps, seconds = draw(pipe, args, args.prompts[0], args.seed)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    figures = {"seconds": seconds, "steps": steps, "peak_resident_bytes": peak, "height": image.shape[0], "width": image.shape[1]}
    print(json.dumps(figures | {"scheduler": type(pipe.scheduler).__name__}), flush=True)
    if args.pictures:
        arrays = {}
        for i, prompt in enumerate(args.prompts):
            image, latents, _, _ = draw(pipe, args, prompt, args.seed + i)
            arrays |= {f"image{i}": image, f"latents{i}": np.stack([x.numpy() for x in latents])}
        np.savez(args.pictures, **arrays)


# ---------------------------------------------------------------------------------------------- all turns


def turn(args, index, cache, pictures):
    """Cold seconds and the worker's figures."""
    command = [sys.executable, os.path.abspath(__file__), *args.prompts, "--worker", str(index)]
    for option in ("model", "dtype", "num_inference_steps", "guidance_scale", "height", "width", "seed", "threads"):
        command += ["--" + option.replace("_", "-"), str(getattr(args, option))]
    if pictures:
        command += ["--pictures", pictures]
    # No compiling in processes beside this one: they would outlive it on a small machine.
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        cold, figures = None, None
        for line in process.stdout:
            if not line.startswith("{"):
                continue  # a library's own chatter
            message = json.loads(line)
            if "first" in message:
                cold = time.perf_counter() - begin
            else:
                figures = message
        if process.wait() != 0 or figures is None:
            errors.seek(0)
            raise RuntimeError((errors.read().strip().splitlines() or [f"status {process.returncode}"])[-1])
    return cold, figures


def quality(reference, picture, i):
    import numpy as np
    import piq
    import torch
    from skimage.metrics import structural_similarity

    a, b = (np.clip(p[f"image{i}"], 0, 1).astype(np.float64) for p in (reference, picture))
    error = ((a - b) ** 2).mean()
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "channel_axis": 2}
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (b, a)]
    x, y = (p[f"latents{i}"].astype(np.float64) for p in (reference, picture))
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    return {
        "psnr": None if error == 0 else -10 * np.log10(error),
        "ssim": structural_similarity(a, b, **settings),
        "mdsi": piq.mdsi(*tensors).item() if error else 0.0,
        "latent_cosine": ((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))).tolist(),
        "latent_relative_rms": np.sqrt(((x - y) ** 2).sum(1) / (x * x).sum(1)).tolist(),
    }


def png(image) -> str:
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def samples(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values} if values else None


def machine(threads: int) -> dict:
    import torch

    lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = lines[0].split(":", 1)[1].strip() if lines else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"cpu": cpu, "isa": torch.backends.cpu.get_cpu_capability().lower(), "system": system, "threads": threads, "memory_bytes": memory}


def climb(args) -> dict:
    import diffusers
    import numpy as np
    import torch

    chosen = [i for i, rung in enumerate(RUNGS) if args.compile or "compile" not in rung[2]]
    rungs = [{"name": n.format(dtype=args.dtype), "arguments": [dtype or args.dtype, *switches], "turns": [], "cold": []}
             for n, dtype, switches in (RUNGS[i] for i in chosen)]
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.runs):
            for j in range(len(rungs)):
                index = (i + j) % len(rungs)
                rung = rungs[index]
                if "error" in rung:
                    continue
                pictures = f"{folder}/{index}.npz" if i == 0 else ""
                try:
                    cold, figures = turn(args, chosen[index], f"{folder}/cache{index}", pictures)
                except RuntimeError as error:
                    rung["error"] = str(error)
                    print(f"{rung['name']}: {error}", file=sys.stderr)
                    continue
                rung["turns"].append(figures)
                rung["cold"].append(cold)
                print(f"run {i + 1}, {rung['name']}: {figures['seconds']:.3f} s, first picture after {cold:.1f} s", file=sys.stderr, flush=True)
        if "error" in rungs[0]:
            sys.exit("error: the reference rung failed")
        first = rungs[0]["turns"][0]
        reference = np.load(f"{folder}/0.npz")
        for index, rung in enumerate(rungs):
            turns, cold = rung.pop("turns"), rung.pop("cold")
            if "error" in rung:
                continue
            picture = np.load(f"{folder}/{index}.npz")
            prompts = range(len(args.prompts))
            rung |= {
                "seconds": samples([t["seconds"] for t in turns]),
                "step_seconds": samples([statistics.median(t["steps"]) for t in turns]),
                "cold_seconds": samples(cold[:1]),
                "warm_start_seconds": samples(cold[1:]),
                "peak_resident_bytes": max(t["peak_resident_bytes"] for t in turns),
                "quality": [quality(reference, picture, i) for i in prompts] if index else [],
                "pictures": [png(picture[f"image{i}"]) for i in prompts[:PICTURES]],
            }
    settings = {"model": os.path.normpath(args.model), "scheduler": first["scheduler"], "prompts": args.prompts, "seed": args.seed}
    settings |= {"height": first["height"], "width": first["width"], "num_inference_steps": args.num_inference_steps}
    settings |= {"guidance_scale": args.guidance_scale, "runs": args.runs}
    return {
        "format": "vivace-bench-1",
        "program": "diffusers",
        "version": f"{diffusers.__version__} (torch {torch.__version__})",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine(args.threads),
        "settings": settings,
        "rungs": rungs,
    }


# ---------------------------------------------------------------------------------------------- side by side


def between(a: dict, b: dict) -> str:
    """PSNR of the first pictures of two rungs, in 8 bits."""
    import numpy as np
    from PIL import Image

    x, y = (np.asarray(Image.open(io.BytesIO(base64.b64decode(r["pictures"][0]))).convert("RGB")).astype(float) for r in (a, b))
    error = ((x - y) ** 2).mean() / 255**2
    return "equal" if error == 0 else f"{-10 * np.log10(error):.1f} dB"


def asked(report: dict) -> dict:
    """The settings that have to be equal; PyTorch's lack the frames of a video, and the device."""
    return {"num_frames": 0, "device": "cpu"} | report["settings"] | {"runs": 0, "model": ""}


def table(theirs: dict, ours: dict) -> None:
    """Markdown."""
    if asked(theirs) != asked(ours):
        print("note: the settings differ", theirs["settings"], ours["settings"], sep="\n")
    if theirs["machine"]["cpu"] != ours["machine"]["cpu"] or theirs["machine"]["threads"] != ours["machine"]["threads"]:
        print("note: the machines differ")
    print("| rung | Diffusers s | Vivace s | faster | cold start s | peak memory GB | PSNR to its own fp32 | between the two |\n|---|---|---|---|---|---|---|---|")
    figures = [{r["name"]: r for r in report["rungs"] if "error" not in r} for report in (theirs, ours)]

    def cell(rung, of):
        return of(rung) if rung else "-"

    def psnr(rung):
        values = [float("inf") if q["psnr"] is None else q["psnr"] for q in rung["quality"]]
        return f"{statistics.median(values):.1f}" if values else "-"

    for name in dict.fromkeys([*figures[0], *figures[1]]):
        a, b = (f.get(name) for f in figures)
        cells = [name, cell(a, lambda r: f"{r['seconds']['median']:.3f}"), cell(b, lambda r: f"{r['seconds']['median']:.3f}")]
        cells.append(f"{a['seconds']['median'] / b['seconds']['median']:.1f}x" if a and b else "-")
        for of in (lambda r: f"{r['cold_seconds']['median']:.2f}", lambda r: f"{r['peak_resident_bytes'] / 1e9:.2f}", psnr):
            cells.append(f"{cell(a, of)} / {cell(b, of)}")
        cells.append(between(a, b) if a and b else "-")
        print("| " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*", default=["a red apple"])
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent / "assets" / "emoji-xl"))
    parser.add_argument("--dtype", choices=["bf16", "fp16"], default="bf16")
    parser.add_argument("--num-inference-steps", type=int, default=50)
    parser.add_argument("--guidance-scale", type=float, default=5.0)
    parser.add_argument("--height", type=int, default=0)
    parser.add_argument("--width", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave out the compiled rungs, which take minutes each")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--table", nargs=2, metavar=("TORCH.json", "VIVACE.json"), help="print both reports side by side and run nothing")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pictures", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        table(*(json.loads(Path(path).read_text()) for path in args.table))
        return 0
    if args.worker is not None:
        worker(args)
        return 0
    report = climb(args)
    text = json.dumps(report, indent=1) + "\n"
    if args.json:
        Path(args.json).write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
