"""Diffusion pipelines, fast: Diffusers' classes and arguments over a C++ engine."""

from ._vivace import (
    Autoencoder,
    InternalError,
    LinearInfo,
    Model,
    UsageError,
    UserError,
    __version__,
    apply_dynamic_quant,
    dynamic_quant_filter_fn,
    get_float32_matmul_precision,
    num_threads,
    sdpa_kernel,
    set_compiler_flag,
    set_float32_matmul_precision,
    set_num_threads,
    transformer_quant_filter_fn,
)
from .attention import SDPBackend
from .pipelines import *  # noqa: F403
from .pipelines import __all__ as _pipelines
from .schedulers import *  # noqa: F403
from .schedulers import __all__ as _schedulers

__all__ = [
    "Autoencoder",
    "InternalError",
    "LinearInfo",
    "Model",
    "SDPBackend",
    "UsageError",
    "UserError",
    "__version__",
    "apply_dynamic_quant",
    "dynamic_quant_filter_fn",
    "get_float32_matmul_precision",
    "num_threads",
    "sdpa_kernel",
    "set_compiler_flag",
    "set_float32_matmul_precision",
    "set_num_threads",
    "transformer_quant_filter_fn",
    *_pipelines,
    *_schedulers,
]
