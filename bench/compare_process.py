#!/usr/bin/env python3
"""A whole `vivace generate` process, from its start to the PNG, against one picture of Diffusers in a process that is warm already.

    python bench/compare_process.py --vivace "build/vivace generate --compile max-autotune" --rounds 10

Both make the same picture: prompt, seed, steps and guidance are the same. The turns alternate, starting with the other one each round; Diffusers' process
is stopped (SIGSTOP) while Vivace's runs, so that its threads can't spin. Vivace's first, uncounted turn fills its cache.

Needs: pip install torch diffusers transformers
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def worker(args) -> None:
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(args.threads)
    pipe = DiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)

    def run(path: str) -> float:
        start = time.perf_counter()
        generator = torch.Generator("cpu").manual_seed(args.seed)
        pipe(args.prompt, num_inference_steps=args.num_inference_steps, guidance_scale=args.guidance_scale, generator=generator).images[0].save(path)
        return time.perf_counter() - start

    for line in sys.stdin:
        print(json.dumps({"seconds": run(line.strip())}), flush=True)


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
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return 0

    shared = ["--model", args.model, "--prompt", args.prompt, "--seed", str(args.seed), "--num-inference-steps", str(args.num_inference_steps)]
    shared += ["--guidance-scale", str(args.guidance_scale)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, os.path.abspath(__file__), "--worker", "--threads", str(args.threads), *shared]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment)
    with tempfile.TemporaryDirectory() as folder:
        environment.setdefault("VIVACE_CACHE_DIR", str(Path(folder) / "cache"))
        paths = {name: str(Path(folder) / f"{name}.png") for name in ("diffusers", "vivace")}

        def diffusers() -> float:
            peer.send_signal(signal.SIGCONT)
            peer.stdin.write(paths["diffusers"] + "\n")
            for line in peer.stdout:
                if line.startswith('{"seconds"'):
                    peer.send_signal(signal.SIGSTOP)
                    return json.loads(line)["seconds"]
            raise RuntimeError(f"Diffusers' process ended with status {peer.wait()}")

        def vivace() -> float:
            start = time.perf_counter()
            subprocess.run([*shlex.split(args.vivace), *shared, "--threads", str(args.threads), "--quiet", "-o", paths["vivace"]], env=environment, check=True)
            return time.perf_counter() - start

        turns = {"diffusers": diffusers, "vivace": vivace}
        times = {name: [] for name in turns}
        try:
            for _ in range(2):
                for turn in turns.values():
                    turn()
            for i in range(args.rounds):
                for name in list(turns) if i % 2 == 0 else list(turns)[::-1]:
                    times[name].append(turns[name]())
        finally:
            peer.send_signal(signal.SIGCONT)
            peer.stdin.close()
            peer.wait()
        print(f"largest difference of the two pictures: {difference(*paths.values())} of 255")
    for name, seconds in times.items():
        print(f"{name:10} minimum {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s, maximum {max(seconds):.3f} s")
    ratios = [d / v for d, v in zip(times["diffusers"], times["vivace"])]
    print(f"faster by {statistics.median(ratios):.2f} (median of {len(ratios)} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
