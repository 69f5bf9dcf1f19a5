"""The pictures and latents that Diffusers makes of the same checkpoints, with the same arguments."""

from __future__ import annotations

import numpy
import pytest
import vivace
from conftest import golden_cases, golden_values

NAMES = ["square", "negative_prompt", "batch", "batch_images_per_prompt", "generator_list", "clip_skip", "denoising_end", "wide", "sd1"]


def arguments(call: dict) -> dict:
    """As Diffusers is called: a generator of PyTorch's is told by its seed here."""
    given = dict(call)
    generator = given.pop("generator", None)
    if isinstance(generator, dict):
        given["generator"] = generator["seed"] if "seed" in generator else generator["seeds"]
    elif isinstance(generator, list):
        given["generator"] = [one["seed"] if isinstance(one, dict) else one for one in generator]
    return given


CASES = [case for case in golden_cases() if case["name"] in NAMES]


def test_there_are_cases() -> None:
    assert len(CASES) >= 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_picture(case: dict, checkpoint) -> None:
    pipe = getattr(vivace, case["pipeline"]).from_pretrained(checkpoint(case["checkpoint"], case["weights_seed"]))
    call = arguments(case["call"])
    output = pipe(**{"output_type": "np", **call})
    # As in tests/pipelines/golden_test.cc: float32 sums of up to 1000 terms in ten layers, in another order, amplified by guidance and steps.
    tolerance = min(1e-3, 5 * 10000**0.5 * 2**-24 * max(1, call.get("guidance_scale", 5)) * call["num_inference_steps"] ** 0.5)
    for name, expected in case["outputs"].items():
        made = getattr(output, name)
        assert list(made.shape) == expected["shape"]
        values = made.reshape(-1)[:: expected["stride"]].astype(numpy.float64)
        error = numpy.sqrt(numpy.mean((values - golden_values(expected)) ** 2)) / expected["rms"]
        assert error < tolerance
