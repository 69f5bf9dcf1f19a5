#!/usr/bin/env python3
"""A whole `vivace generate` process, from its start to the PNG, against one picture of Diffusers in a process that is warm already.

    python bench/compare_process.py --vivace "build/vivace generate --compile max-autotune" --rounds 10

Both make the same picture: prompt, seed, steps and guidance are the same. The turns alternate, starting with the other one each round; Diffusers' process
is stopped (SIGSTOP) while Vivace's runs, so that its threads can't spin. Both make two pictures before that do not count; Vivace's first fills its cache.

Needs: pip install torch diffusers transformers
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_torch import Worker


def worker(args) -> None:
    """In the protocol of compare_torch.py's workers; each run makes the picture anew and writes it."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(args.threads)
    pipe = DiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)

    def run() -> float:
        start = time.perf_counter()
        generator = torch.Generator("cpu").manual_seed(args.seed)
        image = pipe(args.prompt, num_inference_steps=args.num_inference_steps, guidance_scale=args.guidance_scale, generator=generator).images[0]
        image.save(args.worker)
        return time.perf_counter() - start

    print(json.dumps({"ready": sum(run() for _ in range(2))}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": run()}), flush=True)


def difference(a: str, b: str) -> int:
    import numpy
    from PIL import Image

    left, right = (numpy.asarray(Image.open(p), dtype=int) for p in (a, b))
    return int(abs(left - right).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="assets/emoji-xl")
    parser.add_argument("--prompt", default="a red apple")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--num-inference-steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vivace", metavar="COMMAND", default="build/vivace generate --compile default")
    parser.add_argument("--worker", metavar="PNG", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return 0

    shared = ["--model", args.model, "--prompt", args.prompt, "--seed", str(args.seed), "--num-inference-steps", str(args.num_inference_steps)]
    shared += ["--guidance-scale", str(args.guidance_scale)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as folder:
        environment.setdefault("VIVACE_CACHE_DIR", str(Path(folder) / "cache"))
        paths = {name: str(Path(folder) / f"{name}.png") for name in ("diffusers", "vivace")}
        command = [sys.executable, os.path.abspath(__file__), "--worker", paths["diffusers"], "--threads", str(args.threads), *shared]
        peer = Worker("diffusers", command, restart=False, environment=environment)

        def vivace() -> float:
            start = time.perf_counter()
            subprocess.run([*shlex.split(args.vivace), *shared, "--threads", str(args.threads), "--quiet", "-o", paths["vivace"]], env=environment, check=True)
            return time.perf_counter() - start

        turns = {"diffusers": lambda: peer.turn(1)[0], "vivace": vivace}
        times = {name: [] for name in turns}
        try:
            peer.start()
            for _ in range(2):
                vivace()
            for i in range(args.rounds):
                for name in list(turns) if i % 2 == 0 else list(turns)[::-1]:
                    times[name].append(turns[name]())
        finally:
            peer.stop()
        print(f"largest difference of the two pictures: {difference(*paths.values())} of 255")
    for name, seconds in times.items():
        print(f"{name:10} minimum {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s, maximum {max(seconds):.3f} s")
    ratios = [d / v for d, v in zip(times["diffusers"], times["vivace"])]
    print(f"faster by {statistics.median(ratios):.2f} (median of {len(ratios)} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
