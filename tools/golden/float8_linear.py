"""Golden file of float8-dynamic: what torchao makes of rows and of weights with PerRow scales, and their product.

    pip install torch torchao safetensors
    python tools/golden/float8_linear.py

Writes tests/ops/data/float8_linear.safetensors: x [6, 48], w [32, 48] and bias [32]; x_bytes, x_scales, w_bytes and w_scales as
Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()) has them of float32 tensors, computed by torchao's own functions; y, the product of
what these stand for, in float64, with the bias.

torchao divides by the scale, Vivace multiplies by its inverse: the numbers are such that both give the same bytes, which is checked here. Of a row of
zeros torchao makes NaN on this road (0 / 0); there is none.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torchao.quantization import PerRow
from torchao.quantization.quantize_.common import KernelPreference
from torchao.quantization.quantize_.workflows import Float8Tensor

OUT = Path(__file__).resolve().parents[2] / "tests" / "ops" / "data" / "float8_linear.safetensors"


def narrow(t: torch.Tensor):
    made = Float8Tensor.from_hp(t, granularity=PerRow(), kernel_preference=KernelPreference.TORCH)
    scales = made.scale.reshape(-1)
    inverse = (t * (1 / scales)[:, None]).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert torch.equal(inverse.view(torch.uint8), made.qdata.view(torch.uint8)), "a value lies so near the middle of two that dividing and multiplying differ: draw others"
    return made.qdata, scales


def main() -> None:
    torch.manual_seed(0)
    x, w, bias = torch.randn(6, 48), torch.randn(32, 48) * 0.1, torch.randn(32)
    x[1, 7] = -90.0  # the rest of the row is left few bits
    x[2] *= 1e-6
    x[3] = x[3].abs()
    x[4, 5:9] = torch.tensor([448.0, 17.0, 19.0, 432.0])  # scale 1; halves between two values
    x[5] *= 1e4
    w[3, 4] = 20.0
    tensors = {"x": x, "w": w, "bias": bias}
    meant = {}
    for name, t in (("x", x), ("w", w)):
        data, scales = narrow(t)
        tensors |= {name + "_bytes": data, name + "_scales": scales}
        meant[name] = data.double() * scales.double()[:, None]
    tensors["y"] = (meant["x"] @ meant["w"].T + bias.double()).float()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, OUT)


if __name__ == "__main__":
    main()
