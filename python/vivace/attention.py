"""torch.nn.attention's names."""

from enum import Enum


class SDPBackend(str, Enum):
    """For sdpa_kernel, which takes their values too."""

    EFFICIENT_ATTENTION = "efficient"
    FLASH_ATTENTION = "flash"
    MATH = "math"
