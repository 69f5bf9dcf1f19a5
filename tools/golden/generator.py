"""Golden file for the generator: streams of torch.randn and torch.rand calls on the CPU.

    python tools/golden/generator.py                # needs torch; writes tests/tensor/data/random.json

"state" is the hash of torch.Generator.get_state behind the calls of a stream, without the normal number that it keeps.
Values are the bits of float32 as integers. A call of more than 24 values stores its first 8, its last 16 and the 64-bit FNV-1a hash of all bytes.
Made on a CPU with AVX2: torch's kernels without it differ in the last bit.
"""

import json
import os

import numpy as np
import torch

torch.set_num_threads(1)
OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "tensor", "data", "random.json")


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % (1 << 64)
    return h


def call(kind, n, generator):
    x = getattr(torch, kind)(n, generator=generator).numpy()
    bits = [int(b) for b in x.view(np.uint32)]
    if n <= 24:
        return {"kind": kind, "n": n, "bits": bits}
    return {"kind": kind, "n": n, "first": bits[:8], "last": bits[-16:], "hash": str(fnv(x.tobytes()))}


def state(generator):
    """Without the normal number that is kept, whose last bit is the C library's."""
    data = bytearray(generator.get_state().numpy().tobytes())
    data[5024:5032] = bytes(8)
    return data


def stream(seed, *calls):
    generator = torch.Generator().manual_seed(seed)
    made = [call(kind, n, generator) for kind, n in calls]
    return {"seed": str(seed), "calls": made, "state": str(fnv(state(generator)))}


def main():
    sizes = [1, 2, 3, 4, 5, 8, 15, 16, 17, 18, 23, 31, 32, 33, 47, 48, 63, 64, 100, 255, 1000, 4097]
    streams = [stream(7, ("randn", n)) for n in sizes]
    streams += [stream(seed, ("randn", 4 * 16 * 16)) for seed in (0, 1, 42, 2147483647, 4294967295, 4294967303, 67280421310721)]
    mixed = [("randn", 3), ("randn", 16), ("rand", 5), ("randn", 4), ("randn", 2), ("randn", 50), ("randn", 1), ("rand", 700)]
    streams += [stream(seed, *mixed) for seed in (3, 99)]
    # Long enough that the state is refilled many times.
    streams += [stream(5, ("rand", 10000), ("randn", 20000))]
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(s, separators=(",", ":")) for s in streams) + "\n]\n")
    print(len(streams), "streams,", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
