"""Writes tests/weights/data/official.safetensors with the official library: every dtype Vivace reads, a scalar, an empty tensor,
a name and metadata that need escapes. The values of a tensor of n elements are 0 .. n-1 (modulo 2 for bool)."""
from pathlib import Path

import torch
from safetensors.torch import save_file

DTYPES = {
    "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f8": torch.float8_e4m3fn, "f64": torch.float64,
    "i8": torch.int8, "u8": torch.uint8, "i32": torch.int32, "i64": torch.int64, "bool": torch.bool,
}

tensors = {}
for name, dtype in DTYPES.items():
    values = torch.arange(6)
    tensors[name] = (values % 2 if dtype == torch.bool else values).to(dtype).reshape(2, 3)
tensors["scalar"] = torch.zeros((), dtype=torch.float32)
tensors["empty"] = torch.zeros((0, 4), dtype=torch.float16)
tensors['quote " \\ \x1f \u00fc'] = torch.arange(3, dtype=torch.float32)
out = Path(__file__).parents[2] / "tests/weights/data/official.safetensors"
out.parent.mkdir(parents=True, exist_ok=True)
save_file(tensors, out, metadata={"format": "pt\n\u00e4"})
