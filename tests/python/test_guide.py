"""The samples of Diffusers' guide (docs/guide/*.py), as they stand, on small models that have the names which they use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from conftest import ROOT

SAMPLES = sorted((ROOT / "docs/guide").glob("*.py"))


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 10


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_sample(sample: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "stable-diffusion-xl-base-1.0").symlink_to(checkpoint("configs/sdxl_two_levels", 0))
    (tmp_path / "FLUX.1-schnell").symlink_to(ROOT / "assets/emoji-flux")
    done = subprocess.run([sys.executable, sample], cwd=tmp_path, env={**os.environ, "VIVACE_CACHE_SIZE": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with PIL.Image.open(tmp_path / "astronaut.png") as picture:
        assert picture.size == (512, 512) if "flux" in sample.stem else picture.size == (32, 32)
