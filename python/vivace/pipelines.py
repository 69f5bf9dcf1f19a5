"""Diffusers' pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from . import _vivace
from .schedulers import Scheduler, wrapped

if TYPE_CHECKING:
    import PIL.Image

    Picture = PIL.Image.Image | numpy.ndarray
    Pictures = Picture | Sequence[Picture]

__all__ = [
    "DiffusionPipeline",
    "PipelineOutput",
    "AuraFlowPipeline",
    "FluxImg2ImgPipeline",
    "FluxKontextPipeline",
    "FluxPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionControlNetImg2ImgPipeline",
    "StableDiffusionControlNetInpaintPipeline",
    "StableDiffusionControlNetPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionXLControlNetImg2ImgPipeline",
    "StableDiffusionXLControlNetInpaintPipeline",
    "StableDiffusionXLControlNetPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLPipeline",
]


@dataclass
class PipelineOutput:
    images: list[PIL.Image.Image] | numpy.ndarray  # as output_type says
    seeds: list[int] = field(default_factory=list)  # each draws its picture again; none where generators were given
    latents: numpy.ndarray | None = None  # as the loop left them
    step_seconds: list[float] = field(default_factory=list)
    total_seconds: float = 0.0

    def __getitem__(self, index: int) -> Any:
        return (self.images,)[index]


def _pixels(picture: Any) -> Any:
    """[height, width, 3], of a PIL picture or an array, or of a mask without channels."""
    if hasattr(picture, "convert"):
        return numpy.array(picture.convert("RGB"))
    return numpy.repeat(numpy.asarray(picture)[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _checked(picture: Any, mask: bool) -> Any:
    """A picture as an array: floats of 0 to 1, or bytes. Others' are of -1 to 1, or of 0 to 255, and would be drawn from as something else."""
    values = numpy.asarray(picture)
    if not values.size:
        return picture
    least, most, floats = values.min(), values.max(), values.dtype.kind == "f"
    if least < 0:
        raise _vivace.UsageError(f"an array that is a picture has values down to {least:.3g}: expected 0 to 1 (x / 2 + 0.5 of -1 to 1)")
    if floats and not mask and most > 1:
        raise _vivace.UsageError(f"an array that is a picture has values up to {most:.3g}: expected 0 to 1 (x / 255 of 0 to 255), or bytes")
    if mask and not floats and most == 1:
        raise _vivace.UsageError("a mask of bytes has values up to 1, which is black: expected 255 where it is repainted, or floats of 0 to 1")
    return picture


def _pictures(given: Any, mask: bool = False) -> Any:
    """A list of [height, width, 3], or latents as they are."""
    if isinstance(given, (list, tuple)):
        return [_checked(_pixels(one), mask) for one in given]
    one = _pixels(given)
    if one.ndim == 4 and one.shape[-1] == 3:
        return list(_checked(one, mask))
    if one.ndim == 4 and one.shape[1] == 3:  # as PyTorch has them
        return [numpy.ascontiguousarray(numpy.asarray(picture).transpose(1, 2, 0)) for picture in _checked(one, mask)]
    return one if one.ndim == 4 else [_checked(one, mask)]


def _is_generator(generator: Any) -> bool:
    """One of PyTorch's, whose state is read and written; otherwise it is a seed."""
    if not hasattr(generator, "get_state"):
        return False
    if str(generator.device) != "cpu":
        raise _vivace.UsageError(f"generator is one of {str(generator.device)!r}: expected torch.Generator(\"cpu\"), or a seed")
    return True


def _texts(prompt: str | Sequence[str] | None) -> list[str]:
    return [] if prompt is None else [prompt] if isinstance(prompt, str) else list(prompt)


class DiffusionPipeline:
    """A pipeline of the class that its checkpoint names."""

    def __init__(self, inside: _vivace.Pipeline) -> None:
        self._inside = inside
        self._interrupt = False  # a callback sets it: no further steps

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *, torch_dtype: Any = None, **options: Any) -> Any:
        """A folder in Diffusers layout, or a package of `vivace export`.

        dtype (or torch_dtype): "float32", "bfloat16", "float16", or PyTorch's. variant, device, offload, max_memory, pipeline_class, scheduler (a name),
        components (folders by name), controlnet (a folder, or a list of them), cache, cache_dir, and compile: a dict as Model.compile takes it.
        """
        if torch_dtype is not None:
            options.setdefault("dtype", torch_dtype)
        if cls is not DiffusionPipeline:
            options.setdefault("pipeline_class", cls.__name__)
        if (nets := options.get("controlnet")) is not None:
            options["controlnet"] = [os.fspath(one) for one in (nets if isinstance(nets, (list, tuple)) else [nets])]
        inside = _vivace.Pipeline.load(path, options)
        return _CLASSES.get(inside.class_name, DiffusionPipeline)(inside)

    @classmethod
    def from_single_file(cls, path: str | os.PathLike[str], **options: Any) -> Any:
        """A checkpoint in one file, safetensors or GGUF; `config` names the folder of its configs."""
        return cls.from_pretrained(path, **options)

    def to(self, device: Any) -> DiffusionPipeline:
        """Nowhere else than where it is: the CPU."""
        if str(device) != "cpu":
            raise _vivace.UsageError(f"to({str(device)!r}): expected \"cpu\", which everything runs on")
        return self

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        generator: Any = None,
        callback_on_step_end: Callable[[Any, int, float, dict[str, Any]], dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        output_type: str = "pil",
        return_dict: bool = True,
        image: Pictures | None = None,
        mask_image: Pictures | None = None,
        control_image: Pictures | None = None,
        **arguments: Any,
    ) -> Any:
        """The arguments of Diffusers' pipeline of the same name. `generator` may be a seed, or a list of generators or seeds, one an image."""
        if output_type not in ("pil", "np", "latent"):
            raise _vivace.UsageError(f"output_type is {output_type!r}: expected \"pil\", \"np\" or \"latent\"")
        if not set(callback_on_step_end_tensor_inputs) <= {"latents"}:
            raise _vivace.UsageError(f"callback_on_step_end_tensor_inputs is {callback_on_step_end_tensor_inputs!r}: expected [\"latents\"]")
        if arguments.get("_auto_resize") is not None:
            arguments["auto_resize"] = arguments.pop("_auto_resize")
        generators: list[Any] = []
        if generator is not None:
            # One draws for all images in turns, several for an image each.
            several = isinstance(generator, (list, tuple))
            given = list(generator) if several else [generator]
            generators = [one for one in given if _is_generator(one)]
            if generators and len(generators) < len(given):
                raise _vivace.UsageError("generator has seeds and generators: expected one kind")
            if generators:
                arguments["generators"] = [one.get_state().numpy() for one in generators]
            elif several:
                arguments["seeds"] = [int(one) for one in given]
            else:
                arguments["seed"] = int(generator)
        for name, given in (("image", image), ("mask_image", mask_image)):
            if given is not None:
                arguments[name] = _pictures(given, mask=name == "mask_image")
        if control_image is not None:
            nets = control_image if isinstance(control_image, (list, tuple)) else [control_image]
            arguments["control_image"] = [_pictures(one) for one in nets]
        arguments["output_latent"] = output_type == "latent"
        on_step = None if callback_on_step_end is None else self._on_step(callback_on_step_end)
        made = self._inside.draw(_texts(prompt), arguments, on_step)
        for one, state in zip(generators, made.pop("generators")):
            # They go on from where the call left them.
            now = one.get_state()
            now.numpy()[:] = state
            one.set_state(now)
        images = made.pop("images")
        if output_type == "pil":
            images = [_to_pil(one) for one in images]
        elif output_type == "np":
            images = numpy.stack([numpy.clip(one, 0, 1) for one in images])
        else:
            images = made["latents"]
        if generators:
            made["seeds"] = []  # they may have drawn before
        output = PipelineOutput(images=images, **made)
        return output if return_dict else (output.images,)

    def _on_step(self, callback: Callable[..., Any]) -> Callable[[int, float, Any], tuple[Any, bool]]:
        self._interrupt = False

        def on_step(step: int, timestep: float, latents: Any) -> tuple[Any, bool]:
            given = {"latents": latents}
            answer = callback(self, step, timestep, given)
            changed = None if answer is None else answer.get("latents")
            return (None if changed is latents else changed), self._interrupt

        return on_step

    def __getattr__(self, name: str) -> Any:
        # The models, by their names in model_index.json: unet, transformer, vae, text_encoder, ...
        if name.startswith("_") or name not in self._inside.models():
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return self._inside.model(name)

    @property
    def components(self) -> dict[str, _vivace.Model]:
        return {name: self._inside.model(name) for name in self._inside.models()}

    @property
    def scheduler(self) -> Scheduler:
        return wrapped(self._inside.scheduler())

    @scheduler.setter
    def scheduler(self, scheduler: Scheduler) -> None:
        self._inside.set_scheduler(scheduler._inside)

    @property
    def default_size(self) -> tuple[int, int]:
        """Height and width of a picture when none is asked for."""
        height, width = self._inside.default_size()
        return height, width

    def fuse_qkv_projections(self, unet: bool = True, vae: bool = True) -> None:
        self._inside.fuse_qkv_projections(unet, vae)

    def unfuse_qkv_projections(self, unet: bool = True, vae: bool = True) -> None:
        self._inside.unfuse_qkv_projections(unet, vae)

    def enable_vae_tiling(self) -> None:
        self._inside.enable_vae_tiling()

    def disable_vae_tiling(self) -> None:
        self._inside.disable_vae_tiling()

    def enable_model_cpu_offload(self) -> None:
        self._inside.enable_model_cpu_offload()

    def enable_sequential_cpu_offload(self) -> None:
        self._inside.enable_sequential_cpu_offload()

    def load_lora_weights(self, path: str | os.PathLike[str], adapter_name: str | None = None, hotswap: bool = False) -> None:
        self._inside.load_lora_weights(path, adapter_name or "", hotswap)

    def set_adapters(self, adapter_names: str | Sequence[str], adapter_weights: float | Sequence[float] | None = None) -> None:
        names = _texts(adapter_names)
        weights = [] if adapter_weights is None else adapter_weights
        self._inside.set_adapters(names, [float(weights)] * len(names) if isinstance(weights, (int, float)) else list(weights))

    def get_active_adapters(self) -> list[str]:
        return self._inside.get_active_adapters()

    def get_list_adapters(self) -> list[str]:
        return self._inside.get_list_adapters()

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        self._inside.delete_adapters(_texts(adapter_names))

    def fuse_lora(self, lora_scale: float = 1.0, adapter_names: Sequence[str] = ()) -> None:
        self._inside.fuse_lora(lora_scale, list(adapter_names))

    def unfuse_lora(self) -> None:
        self._inside.unfuse_lora()

    def unload_lora_weights(self) -> None:
        self._inside.unload_lora_weights()

    def enable_lora_hotswap(self, target_rank: int = 128) -> None:
        self._inside.enable_lora_hotswap(target_rank)

    def load_textual_inversion(self, path: str | os.PathLike[str], token: str | None = None) -> None:
        self._inside.load_textual_inversion(path, token or "")

    def unload_textual_inversion(self, tokens: str | Sequence[str] | None = None) -> None:
        self._inside.unload_textual_inversion(_texts(tokens))


def _to_pil(image: numpy.ndarray) -> PIL.Image.Image:
    import PIL.Image

    return PIL.Image.fromarray(numpy.rint(numpy.clip(image, 0, 1) * 255).astype(numpy.uint8))


class StableDiffusionXLPipeline(DiffusionPipeline):
    pass


class StableDiffusionXLImg2ImgPipeline(DiffusionPipeline):
    pass


class StableDiffusionXLInpaintPipeline(DiffusionPipeline):
    pass


class StableDiffusionXLControlNetPipeline(DiffusionPipeline):
    pass


class StableDiffusionXLControlNetImg2ImgPipeline(DiffusionPipeline):
    pass


class StableDiffusionXLControlNetInpaintPipeline(DiffusionPipeline):
    pass


class StableDiffusionPipeline(DiffusionPipeline):
    pass


class StableDiffusionImg2ImgPipeline(DiffusionPipeline):
    pass


class StableDiffusionInpaintPipeline(DiffusionPipeline):
    pass


class StableDiffusionControlNetPipeline(DiffusionPipeline):
    pass


class StableDiffusionControlNetImg2ImgPipeline(DiffusionPipeline):
    pass


class StableDiffusionControlNetInpaintPipeline(DiffusionPipeline):
    pass


class LatentConsistencyModelPipeline(DiffusionPipeline):
    pass


class FluxPipeline(DiffusionPipeline):
    pass


class FluxImg2ImgPipeline(DiffusionPipeline):
    pass


class FluxKontextPipeline(DiffusionPipeline):
    pass


class AuraFlowPipeline(DiffusionPipeline):
    pass


_CLASSES = {name: globals()[name] for name in __all__ if name.endswith("Pipeline")}
