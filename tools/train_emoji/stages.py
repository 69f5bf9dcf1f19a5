"""What the scripts that make a model in stages have in common: their options, and running the stages in order."""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from common import attention_in_fp32, setup
from glyphs import ANNOTATIONS, FONT


def stage_parser(prog: str, description: str | None, smoke: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("out", type=Path, help="the Diffusers folder to write")
    parser.add_argument("--work", type=Path, help="folder for what lies between the stages (default: OUT-work)")
    parser.add_argument("--from", dest="start", default="prepare", help="first stage to run; earlier ones are taken from the work folder")
    parser.add_argument("--smoke", action="store_true", help=smoke)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--annotations", type=Path, default=ANNOTATIONS)
    return parser


def work_folder(args: argparse.Namespace) -> Path:
    work = args.work or args.out.with_name(args.out.name + "-work")
    work.mkdir(parents=True, exist_ok=True)
    return work


def run_stages(parser: argparse.ArgumentParser, args: argparse.Namespace, stages: dict[str, Callable]) -> None:
    """Those from args.start on, in the order of `stages`."""
    if args.start not in stages:
        parser.error(f"--from {args.start}: the stages are {', '.join(stages)}")
    for path in (args.font, args.annotations):
        if args.start == "prepare" and not path.exists():
            parser.error(f"{path} is missing: apt-get install fonts-noto-color-emoji unicode-cldr-core, or name the file with an option")

    attention_in_fp32()
    names = list(stages)
    for name in names[names.index(args.start) :]:
        setup(seed=names.index(name), threads=args.threads)
        start = time.time()
        stages[name]()
        print(f"{name}: done in {time.time() - start:.0f} s", flush=True)
