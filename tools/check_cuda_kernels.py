#!/usr/bin/env python3
"""Compiles the CUDA kernels with nvcc for each architecture, warnings being errors, and holds what ptxas says of them against a budget.

    python tools/check_cuda_kernels.py             # exit code 77, with the reason, where there is no nvcc
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


def nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def compiled(source: Path, architecture: str, folder: Path):
    """What ptxas reports: {entry: (registers, stack, spilled bytes)}; text of an error instead where there is one."""
    command = [nvcc(), "-cubin", f"-arch={architecture}", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v", f"-I{KERNELS}"]
    done = subprocess.run([*command, "-o", folder / f"{source.stem}.{architecture}.cubin", source], capture_output=True, text=True)
    if done.returncode:
        return f"{source.name} for {architecture}:\n{done.stderr}{done.stdout}"
    result = {}
    for part in done.stderr.split("Compiling entry function '")[1:]:
        stack, stores, loads = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part).groups())
        result[part.split("'")[0]] = (int(re.search(r"Used (\d+) registers", part)[1]), stack, stores + loads)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the budget anew")
    args = parser.parse_args()
    if not nvcc():
        print("skipped: there is no nvcc, so no CUDA kernel was compiled")
        return 77
    comments = [line for line in BUDGET.read_text().splitlines() if line.startswith("#")]
    kernels = [Kernel(line) for line in BUDGET.read_text().splitlines() if not line.startswith("#")]
    with tempfile.TemporaryDirectory() as name:
        folder, sources = Path(name), sorted((ROOT / "tests/codegen/data").glob("*.cu"))
        for source in sorted({k.source for k in kernels}):  # one file each
            text = f'#include "{source}"\nnamespace vivace::cuda {{\n' + "".join(k.entry(f"kernel_{i}") for i, k in enumerate(kernels) if k.source == source) + "}\n"
            sources.append(folder / f"{Path(source).stem}.cu")
            sources[-1].write_text(text)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = {(s, a): pool.submit(compiled, s, a, folder) for s in sources for a in ARCHITECTURES}
            found = {key: job.result() for key, job in jobs.items()}
    wrong = [text for text in found.values() if isinstance(text, str)]
    compiles, lines = not wrong, []
    for i, kernel in enumerate(kernels):
        entries = [found[source, a][f"kernel_{i}"] for a in ARCHITECTURES for source in sources if source.stem == Path(kernel.source).stem] if compiles else []
        lines.append(kernel.line([registers for registers, _, _ in entries]))
        for architecture, (registers, stack, spilled) in zip(ARCHITECTURES, entries):
            if max(stack, spilled) > kernel.memory:
                wrong.append(f"{kernel.function} for {architecture}: {stack} bytes of stack, {spilled} bytes spilled")
            if not args.update and (not kernel.registers or registers > kernel.registers[ARCHITECTURES.index(architecture)]):
                wrong.append(f"{kernel.function} for {architecture}: {registers} registers, more than the budget's {kernel.registers}")
    if args.update and compiles:
        BUDGET.write_text("\n".join([*comments, *lines]) + "\n")
    print("\n".join(wrong) if wrong else f"{len(kernels)} kernels and {len(list((ROOT / 'tests/codegen/data').glob('*.cu')))} tile programs for {', '.join(ARCHITECTURES)}: within the budget")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
