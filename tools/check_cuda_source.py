#!/usr/bin/env python3
"""Compiles printed tile programs with NVRTC, runs them on the GPU, compares them with float64 arithmetic and times them.

    python tools/check_cuda_source.py tests/codegen/data/*.cu

A file is what src/codegen/cuda_source.h prints: the tile program in the first line, then the kernel, whose parameters say dtypes and broadcasts.
For each file it prints the worst error in units of the tolerance (over 1 is a failure) on an awkward small shape and on a large one, and for the
large one the GB/s (each input read and the output written once) beside those of a device-to-device copy.

Needs an NVIDIA GPU and: pip install torch cupy.
"""

import argparse
import re
import sys
from pathlib import Path

import cupy
import torch

KERNELS = Path(__file__).resolve().parent.parent / "src/backends/cuda/kernels"  # numbers.cuh, which printed kernels include
DTYPES = {"float": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
EPSILON = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
CASTS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHAPES = [(2, 5, 20), (4, 16384, 640)]  # images, rows of an image, channels: a tail of 4 channels; 84 MB in bfloat16


def instruction(op, args, attrs):
    """One instruction of a tile program on float64 tensors, as src/ops/tile_program.h defines it."""
    x, y = args[0], args[1] if len(args) > 1 else None
    gelu = torch.nn.functional.gelu
    table = {
        "add": lambda: x + y,
        "sub": lambda: x - y,
        "mul": lambda: x * y,
        "div": lambda: x / y,
        "affine": lambda: x * attrs.get("scale", 1.0) + attrs.get("shift", 0.0),
        "silu": lambda: x * torch.sigmoid(x),
        "gelu": lambda: gelu(x),
        "gelu_tanh": lambda: gelu(x, approximate="tanh"),
        "quick_gelu": lambda: x * torch.sigmoid(1.702 * x),
        "relu": lambda: x.clamp(min=0),
        "exp": lambda: x.exp(),
        "rsqrt": lambda: x.rsqrt(),
        "clamp": lambda: x.clamp(attrs["min"], attrs["max"]),
        "cast": lambda: x.to(CASTS[attrs["to"]]).double() if attrs["rounds"] else x,
    }
    return table[op]()


def reference(program, inputs, rounds=True):
    """With the casts' rounding, or without it."""
    values = {f"i{i}": t.double() for i, t in enumerate(inputs)}
    for line in program.split(";"):
        name, text = line.split("=", 1)
        op, *words = text.split()
        args = [values[w] for w in words if "=" not in w]
        attrs = dict(w.split("=") for w in words if "=" in w)
        values[name] = instruction(op, args, {"rounds": rounds, **{k: v if k == "to" else float(v) for k, v in attrs.items()}})
    return values[name]


class Kernel:
    def __init__(self, path, options):
        self.source = Path(path).read_text()
        self.program = self.source.splitlines()[0].removeprefix("// ")
        self.name, parameters = re.search(r"__global__ void (\w+)\((.*)\) \{", self.source).groups()
        self.inputs = [DTYPES[t] for t in re.findall(r"const (\w+)\* __restrict__ i\d+", parameters)]
        self.output = DTYPES[re.search(r"(\w+)\* __restrict__ out", parameters).group(1)]
        self.function = cupy.RawModule(code=self.source, backend="nvrtc", options=options).get_function(self.name)

    def broadcast(self, i):
        """The shape of input i with 1 where it is repeated, and its row stride, from the way the kernel reads it."""
        for pattern, shape, stride in (
            (rf"load\(i{i} \+ r \* s{i} \+ c", "irc", lambda c: c),
            (rf"load\(i{i} \+ r / rows_per_image \* s{i} \+ c", "i1c", lambda c: c),
            (rf"load\(i{i} \+ c", "11c", lambda c: 0),
            (rf"to_float\(i{i}\[r \* s{i}\]\)", "ir1", lambda c: 1),
            (rf"to_float\(\*i{i}\)", "111", lambda c: 0),
        ):
            if re.search(pattern, self.source):
                return shape, stride
        raise SystemExit(f"{self.name}: no known way of reading input {i}")

    def case(self, images, rows, channels):
        sizes = {"i": images, "r": rows, "c": channels, "1": 1}
        inputs, arguments = [], []
        for i, dtype in enumerate(self.inputs):
            shape, stride = self.broadcast(i)
            inputs.append(torch.randn([sizes[s] for s in shape], device="cuda").to(dtype))
            arguments += [inputs[-1].data_ptr(), stride(channels)]
        out = torch.empty(images, rows, channels, dtype=self.output, device="cuda")
        arguments += [out.data_ptr(), channels, images * rows, channels, rows]
        threads = images * rows * ((channels + 7) // 8)
        grid = (min((threads + 255) // 256, 132 * 16),)
        return inputs, out, lambda: self.function(grid, (256,), tuple(map(cupy.int64, arguments)))


def seconds(run, repeats=50):
    for _ in range(5):
        run()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times)[repeats // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    torch.manual_seed(0)
    stream = torch.cuda.current_stream()
    major, minor = torch.cuda.get_device_capability()
    options = ("--std=c++17", f"-I{KERNELS}")
    print(f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}")
    failed = False
    with cupy.cuda.Stream.from_external(stream):
        for path in args.files:
            kernel = Kernel(path, options)
            for shape in SHAPES:
                inputs, out, run = kernel.case(*shape)
                run()
                wanted = reference(kernel.program, inputs)
                # The output's rounding, and a few of float32's on values of about 10. A value that a cast rounds the other way was half a unit from
                # both, so it moves the result by twice what the rounding does.
                moved = (wanted - reference(kernel.program, inputs, rounds=False)).abs()
                tolerance = EPSILON[kernel.output] * wanted.abs() + 2.1 * moved + 64 * EPSILON[torch.float32] * 10
                worst = ((out.double() - wanted).abs() / tolerance).max().item()
                failed |= not worst <= 1
                print(f"{kernel.name} {list(shape)}: {worst:.2f} of the tolerance, largest value {wanted.abs().max().item():.1f}")
            moved = sum(t.numel() * t.element_size() for t in [*inputs, out])
            copy = torch.empty_like(out)
            rate, copying = moved / seconds(run), 2 * out.numel() * out.element_size() / seconds(lambda: copy.copy_(out))
            print(f"{kernel.name} {list(shape)}: {rate / 1e9:.0f} GB/s; a copy of the output {copying / 1e9:.0f} GB/s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
