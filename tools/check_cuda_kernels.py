#!/usr/bin/env python3
"""Compiles the CUDA kernels with nvcc for each architecture, warnings being errors, and holds what ptxas says of them against a budget. With hipcc (Debian: hipcc,
libamdhip64-dev) it compiles those that need no tensor cores for AMD's GPUs too.

    python tools/check_cuda_kernels.py             # what a compiler is there for; exit code 77 where there is neither
    python tools/check_cuda_kernels.py --update    # writes the budget anew, to be looked at in the diff

A line of tests/cuda/compile/budget.txt is a kernel: source, type of its arguments, threads of a block, the instance, and the registers that it may take on each
architecture, in the steps of eight in which a GPU gives them; at the end the bytes of local memory (stack, spilled registers) that it may have, where that is no
loss: sine and cosine of doubles have a table there. The main tiles have none. Printed tile programs (tests/codegen/data/*.cu) are compiled too. No GPU is needed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "src/backends/cuda/kernels"
BUDGET = ROOT / "tests/cuda/compile/budget.txt"
ARCHITECTURES = ["sm_80", "sm_90a", "sm_100f", "sm_120f"]
AMD = ["gfx90a", "gfx1030"]
TENSOR_CORES = {"attention", "gemm"}  # sources that want NVIDIA's
LINE = re.compile(r"(\w+\.cuh) (\w+) (\d+) (.+?):((?: \d+)*)(?: memory (\d+))?")


class Kernel:
    def __init__(self, line: str):
        self.source, self.arguments, block, self.function, registers, memory = LINE.fullmatch(line).groups()
        self.block, self.registers, self.memory = int(block), [int(r) for r in registers.split()], int(memory or 0)

    def entry(self, name: str) -> str:  # as module_text() of kernels/launch.h
        head = f'extern "C" __global__ void __launch_bounds__({self.block}) {name}(const __grid_constant__ {self.arguments} arguments)'
        return f"{head} {{ {self.function}(arguments); }}\n"

    def line(self, registers) -> str:
        return f"{self.source} {self.arguments} {self.block} {self.function}:" + "".join(f" {(r + 7) // 8 * 8}" for r in registers) + (f" memory {self.memory}" if self.memory else "")


def compiler(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def run(*command) -> tuple[bool, str]:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode == 0, done.stderr + done.stdout


def reports(source: Path, architecture: str):
    """What ptxas says: {entry: (registers, local memory)}; the text of an error instead where there is one."""
    options = ["-cubin", f"-arch={architecture}", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v", f"-I{KERNELS}"]
    good, text = run(compiler("nvcc"), *options, "-o", source.with_suffix(f".{architecture}.cubin"), source)
    if not good:
        return f"{source.name} for {architecture}:\n{text}"
    result = {}
    for part in text.split("Compiling entry function '")[1:]:
        memory = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part).groups())
        result[part.split("'")[0]] = int(re.search(r"Used (\d+) registers", part)[1]), max(memory)
    return result


def check_nvidia(kernels: list[Kernel], source: Path, pool: ThreadPoolExecutor, update: bool) -> list[str]:
    found = dict(zip(ARCHITECTURES, pool.map(reports, [source] * len(ARCHITECTURES), ARCHITECTURES)))
    wrong = [text for text in found.values() if isinstance(text, str)]
    if wrong:
        return wrong
    lines = [line for line in BUDGET.read_text().splitlines() if line.startswith("#")]
    for i, kernel in enumerate(kernels):
        entries = [found[a][f"kernel_{i}"] for a in ARCHITECTURES]
        lines.append(kernel.line([registers for registers, _ in entries]))
        for n, (registers, memory) in enumerate(entries):
            name = f"{kernel.function} for {ARCHITECTURES[n]}"
            if memory > kernel.memory:
                wrong.append(f"{name}: {memory} bytes of local memory, more than the budget's {kernel.memory}")
            if not update and (not kernel.registers or registers > kernel.registers[n]):
                wrong.append(f"{name}: {registers} registers, more than the budget's {kernel.registers[n] if kernel.registers else 0}")
    if update:
        BUDGET.write_text("\n".join(lines) + "\n")
    return wrong


def check_amd(source: Path) -> list[str]:
    options = ["--cuda-device-only", *(f"--offload-arch={a}" for a in AMD), "-std=c++17", "-O2", "-Wall", "-Werror", f"-I{KERNELS}", "-x", "hip", "-c"]
    good, text = run(compiler("hipcc"), *options, source, "-o", source.with_suffix(".o"))
    return [] if good else [f"{source.name} with hipcc:\n{text}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the budget anew")
    args = parser.parse_args()
    if not compiler("nvcc") and not compiler("hipcc"):
        print("skipped: there is neither nvcc nor hipcc, so no CUDA kernel was compiled")
        return 77
    kernels = [Kernel(line) for line in BUDGET.read_text().splitlines() if not line.startswith("#")]
    wrong, done = [], []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        # One file for each compiler, which takes a second to begin with one.
        programs = sorted((ROOT / "tests/codegen/data").glob("*.cu"))
        plain = [k for k in kernels if Path(k.source).stem not in TENSOR_CORES]
        sources = {}
        for name, mine in ("nvidia", kernels), ("amd", plain):
            includes = "".join(f'#include "{s}"\n' for s in programs + sorted({k.source for k in mine}))
            entries = "".join(k.entry(f"kernel_{kernels.index(k)}") for k in mine)
            sources[name] = Path(folder) / f"{name}.cu"
            sources[name].write_text(f"{includes}namespace vivace::cuda {{\n{entries}}}\n")
        if compiler("nvcc"):
            wrong += check_nvidia(kernels, sources["nvidia"], pool, args.update)
            done.append(f"{len(kernels)} kernels and {len(programs)} tile programs for {', '.join(ARCHITECTURES)}, within the budget")
        if compiler("hipcc"):
            wrong += check_amd(sources["amd"])
            done.append(f"{len({k.source for k in plain})} sources and {len(programs)} tile programs for {', '.join(AMD)}")
    print("\n".join(wrong or done))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
