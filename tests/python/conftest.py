"""Checkpoints of random weights, which the program makes (VIVACE_PROGRAM), and golden cases of Diffusers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/pipelines/data"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """By the folder of configs and the seed of the weights; each made once."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), {}

    def make(configs: str, seed: int = 0) -> Path:
        if (configs, seed) not in made:
            out = folder / f"{Path(configs).name}-{seed}"
            program = os.environ.get("VIVACE_PROGRAM", str(ROOT / "build/vivace"))
            subprocess.run([program, "make-random", str(DATA / configs), str(out), "--seed", str(seed), "--quiet"], check=True)
            made[configs, seed] = out
        return made[configs, seed]

    return make


@pytest.fixture(scope="session")
def tiny(checkpoint: Callable[..., Path]) -> Path:
    """SDXL, 32 x 32 pixels."""
    return checkpoint("configs/sdxl_two_levels", 0)


def golden_cases() -> list[dict]:
    return json.loads((DATA / "cases.json").read_text())["cases"]


def golden_values(output: dict) -> numpy.ndarray:
    """Every stride-th value."""
    values = numpy.fromfile(DATA / output["file"], dtype="<f4", offset=output["offset"], count=output["count"])
    assert len(values) == output["count"]
    return values
