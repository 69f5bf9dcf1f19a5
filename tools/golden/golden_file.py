"""Golden cases on disk: `cases.json` says what was run, `<case>.bin` holds the values. See README.md in this folder for the format."""

import json
import math
import warnings
from pathlib import Path

import torch

from weights import fnv1a


def randn_input(case: str, name: str, shape, scale: float = 1.0) -> dict:
    """Describes an input drawn as scale * torch.randn(shape, generator=manual_seed(seed)) in float32."""
    spec = {"shape": list(shape), "randn_seed": fnv1a(f"{case}/{name}")}
    return spec if scale == 1.0 else {**spec, "scale": scale}


def make_input(spec: dict) -> torch.Tensor:
    if "values" in spec:
        dtype = torch.int64 if spec.get("dtype") == "int64" else torch.float32
        return torch.tensor(spec["values"], dtype=dtype).reshape(spec["shape"])
    generator = torch.Generator().manual_seed(spec["randn_seed"])
    return torch.randn(tuple(spec["shape"]), generator=generator) * spec.get("scale", 1.0)


def sample_stride(shape, max_values: int) -> int:
    """Smallest stride that keeps at most max_values of the flat tensor and shares no factor with any dim, so that every row and column is met."""
    stride = max(1, math.ceil(math.prod(shape) / max_values))
    while stride > 1 and any(math.gcd(stride, dim) > 1 for dim in shape):
        stride += 1
    return stride


class GoldenWriter:
    """Collects cases and writes them; a fresh writer replaces all golden files of its folder, one that keeps them replaces those of its cases' names."""

    def __init__(self, folder: Path, keep: bool = False):
        self.folder = folder
        self.cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))["cases"] if keep else []
        folder.mkdir(parents=True, exist_ok=True)
        for old in [] if keep else folder.glob("*.bin"):
            old.unlink()

    def add(self, case: dict, outputs: dict[str, torch.Tensor], max_values: int) -> None:
        """`case` gains "outputs"; each output keeps every stride-th value of its flat (row-major, NCHW) order."""
        data, described = bytearray(), {}
        file = case["name"] + ".bin"
        for name, tensor in outputs.items():
            values = tensor.detach().to(torch.float32).contiguous()
            if not torch.isfinite(values).all():
                raise ValueError(f"{case['name']}: {name} is not finite")
            stride = sample_stride(values.shape, max_values)
            kept = values.flatten()[::stride].contiguous()
            described[name] = {
                "file": file,
                "offset": len(data),
                "shape": list(values.shape),
                "stride": stride,
                "count": kept.numel(),
                "mean": float(values.double().mean()),
                "rms": float(values.double().pow(2).mean().sqrt()),
            }
            data += kept.numpy().astype("<f4").tobytes()
        (self.folder / file).write_bytes(data)
        self.cases = [c for c in self.cases if c["name"] != case["name"]] + [{**case, "outputs": described}]

    def finish(self, made_by: str, versions: dict[str, str]) -> None:
        """One case a line, so that a changed case is a changed line."""
        lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in self.cases)
        head = json.dumps({"made_by": made_by, "versions": versions}, ensure_ascii=False)[:-1]
        (self.folder / "cases.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")
        size = sum(f.stat().st_size for f in self.folder.iterdir() if f.is_file())
        print(f"{len(self.cases)} cases, {size / 1000:.0f} kB in {self.folder}")


def keep_quiet() -> None:
    """No warnings and progress bars of the libraries; one thread, so that sums have one order."""
    import diffusers
    import transformers

    warnings.filterwarnings("ignore")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)


def library_versions() -> dict[str, str]:
    import diffusers
    import transformers

    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}
