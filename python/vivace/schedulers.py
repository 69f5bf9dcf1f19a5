"""Diffusers' schedulers: pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import _vivace


class Scheduler:
    """A scheduler of any class. A copy: what is done to it concerns a pipeline once it is set there."""

    class_name: str = ""

    def __init__(self, inside: _vivace.Scheduler | None = None, **config: Any) -> None:
        if inside is None:
            inside = _vivace.make_scheduler(self.class_name, json.dumps(config))
            own = json.loads(_vivace.make_scheduler(self.class_name).config_json())
            if unknown := [name for name in config if name not in own and not name.startswith("_")]:
                raise TypeError(f"{self.class_name} has no argument {unknown[0]}")
        self._inside = inside

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **overrides: Any) -> Scheduler:
        """The config may be another class's: shared fields are kept."""
        return cls(_vivace.make_scheduler(cls.class_name, json.dumps(dict(config)), json.dumps(overrides)))

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self._inside.config_json())

    def set_timesteps(self, num_inference_steps: int) -> None:
        self._inside.set_timesteps(num_inference_steps)

    @property
    def timesteps(self) -> list[float]:
        return self._inside.timesteps

    @property
    def sigmas(self) -> list[float]:
        return self._inside.sigmas

    @property
    def order(self) -> int:
        return self._inside.order

    @property
    def init_noise_sigma(self) -> float:
        return self._inside.init_noise_sigma


__all__ = ["Scheduler"]
for _name in _vivace.list_schedulers():
    globals()[_name] = type(_name, (Scheduler,), {"class_name": _name, "__module__": __name__, "__doc__": f"Diffusers' {_name}."})
    __all__.append(_name)


def wrapped(inside: _vivace.Scheduler) -> Scheduler:
    return globals()[inside.class_name](inside)
