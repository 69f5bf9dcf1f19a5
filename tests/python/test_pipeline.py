"""What Python has of a pipeline: pictures, arrays, callbacks, errors, threads, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy
import PIL.Image
import pytest
import vivace
from conftest import DATA


@pytest.fixture(scope="module")
def pipe(tiny):
    return vivace.StableDiffusionXLPipeline.from_pretrained(tiny)


def draw(pipe, **more):
    return pipe("a red apple", **{"num_inference_steps": 3, "generator": 7, "output_type": "np", **more})


def test_classes(tiny, pipe) -> None:
    assert type(pipe) is vivace.StableDiffusionXLPipeline
    assert type(vivace.DiffusionPipeline.from_pretrained(tiny)) is vivace.StableDiffusionXLPipeline
    assert set(pipe.components) == {"unet", "vae", "text_encoder", "text_encoder_2"}
    assert pipe.unet.dtype == "float32" and pipe.unet.num_parameters() > 0
    assert isinstance(pipe.vae, vivace.Autoencoder)
    assert pipe.default_size == (32, 32)
    assert vivace.DiffusionPipeline.from_pretrained(tiny, torch_dtype="bfloat16").unet.dtype == "bfloat16"


def test_output_types(pipe) -> None:
    picture = pipe("a red apple", num_inference_steps=3, generator=7).images[0]
    values = draw(pipe).images
    assert isinstance(picture, PIL.Image.Image) and picture.size == (32, 32)
    assert values.shape == (1, 32, 32, 3) and values.dtype == numpy.float32
    assert (numpy.array(picture) == numpy.rint(values[0] * 255)).all()
    latents = draw(pipe, output_type="latent")
    assert latents.images.shape == (1, 4, 8, 8) and (latents.images == latents.latents).all()
    assert latents.seeds == [7] and len(latents.step_seconds) == 3
    assert (pipe("a red apple", num_inference_steps=3, generator=7, output_type="np", return_dict=False)[0] == values).all()


def test_an_array_of_a_picture_is_0_to_1(tiny) -> None:
    pipe = vivace.StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny)
    picture = numpy.linspace(0, 1, 32 * 32 * 3, dtype=numpy.float32).reshape(32, 32, 3)
    assert draw(pipe, image=picture, strength=1.0).images.shape == (1, 32, 32, 3)
    for wrong in (2 * picture - 1, [2 * picture - 1], (2 * picture - 1)[None].transpose(0, 3, 1, 2)):
        with pytest.raises(vivace.UsageError, match="has values down to -1: expected 0 to 1"):
            draw(pipe, image=wrong)
    with pytest.raises(vivace.UsageError, match=r"has values up to 255: expected 0 to 1 \(x / 255"):
        draw(pipe, image=255 * picture)
    inpaint = vivace.StableDiffusionXLInpaintPipeline.from_pretrained(tiny)
    mask = numpy.zeros((32, 32), numpy.uint8)
    mask[:, :16] = 1
    with pytest.raises(vivace.UsageError, match="a mask of bytes has values up to 1"):
        draw(inpaint, image=picture, mask_image=mask)
    assert draw(inpaint, image=picture, mask_image=[mask.astype(numpy.float32)]).images.shape == (1, 32, 32, 3)


def test_generators(pipe) -> None:
    two = draw(pipe, generator=[7, 8], num_images_per_prompt=2).images
    assert numpy.abs(two[0] - draw(pipe).images[0]).max() < 1e-4
    assert numpy.abs(two[1] - draw(pipe, generator=8).images[0]).max() < 1e-4
    random = draw(pipe, generator=None)
    assert (draw(pipe, generator=random.seeds[0]).images == random.images).all()


def test_callback_sees_and_changes_latents(pipe) -> None:
    seen = []

    def look(of, step, timestep, given):
        assert of is pipe
        seen.append((step, timestep, given["latents"].copy()))
        return given

    plain = draw(pipe, callback_on_step_end=look)
    assert [step for step, _, _ in seen] == [0, 1, 2] and seen[0][1] > seen[1][1]
    assert (seen[-1][2] == plain.latents).all()
    changed = draw(pipe, callback_on_step_end=lambda of, step, timestep, given: {"latents": given["latents"] * 0})
    assert (changed.latents == 0).all()

    def stop(of, step, timestep, given):
        of._interrupt = True
        return given

    assert (draw(pipe, callback_on_step_end=stop).latents == seen[0][2]).all()
    with pytest.raises(KeyError, match="of the callback"):
        draw(pipe, callback_on_step_end=lambda *_: {}["of the callback"])


def test_latents_and_embeddings_come_as_arrays(pipe) -> None:
    noise = numpy.random.default_rng(0).standard_normal((1, 4, 8, 8))
    assert (draw(pipe, latents=noise.astype(numpy.float32)).images == draw(pipe, latents=noise.astype(numpy.float32).astype(numpy.float64)).images).all()

    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **arguments):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    single = noise.astype(numpy.float32)
    assert (draw(pipe, latents=OnlyDlpack(single)).images == draw(pipe, latents=single).images).all()
    every_second = numpy.repeat(single, 2, axis=3)[..., ::2]  # not contiguous
    assert (draw(pipe, latents=every_second).images == draw(pipe, latents=single).images).all()
    with pytest.raises(TypeError, match="latents"):
        draw(pipe, latents="noise")


def test_tensors_of_pytorch(pipe) -> None:
    torch = pytest.importorskip("torch")
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    right = draw(pipe, latents=noise.numpy()).images
    assert (draw(pipe, latents=noise).images == right).all()
    every_second = torch.repeat_interleave(noise, 2, dim=3)[..., ::2]
    assert (draw(pipe, latents=every_second).images == right).all()
    output = draw(pipe, generator=torch.Generator().manual_seed(7))
    assert (output.images == draw(pipe).images).all()
    # What comes back needs no copy.
    assert torch.from_numpy(output.images).data_ptr() == output.images.ctypes.data


def test_a_generator_goes_on_from_where_it_is(pipe) -> None:
    torch = pytest.importorskip("torch")
    shape = (1, 4, 8, 8)
    ours, theirs = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    for _ in range(3):  # a call draws its latents alone: the scheduler is Euler's
        right = draw(pipe, latents=torch.randn(shape, generator=theirs)).images
        assert (draw(pipe, generator=ours).images == right).all()
    assert torch.equal(torch.randn(5, generator=ours), torch.randn(5, generator=theirs))
    used = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    torch.rand(3, generator=used[1])
    two = draw(pipe, generator=used, num_images_per_prompt=2).images
    again = torch.Generator().manual_seed(8)
    torch.rand(3, generator=again)
    assert numpy.abs(two[1] - draw(pipe, generator=again).images[0]).max() < 1e-4
    with pytest.raises(vivace.UsageError, match="one kind"):
        draw(pipe, generator=[7, torch.Generator()], num_images_per_prompt=2)


def test_pictures_come_in_all_forms(tiny) -> None:
    pipe = vivace.StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny)
    pixels = numpy.arange(32 * 32 * 3, dtype=numpy.uint8).reshape(32, 32, 3)
    values = pixels.astype(numpy.float32) / 255
    right = draw(pipe, image=PIL.Image.fromarray(pixels), strength=0.7).images
    for form in (pixels, values, values[None], values.transpose(2, 0, 1)[None], [pixels]):
        assert (draw(pipe, image=form, strength=0.7).images == right).all()
    inpaint = vivace.StableDiffusionXLInpaintPipeline.from_pretrained(tiny)
    mask = PIL.Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    assert (draw(inpaint, image=pixels, mask_image=mask).images == draw(inpaint, image=pixels, mask_image=numpy.array(mask)).images).all()
    with pytest.raises(TypeError, match="image"):
        draw(pipe, image=numpy.zeros((32, 32, 4), numpy.uint8))


@pytest.fixture(scope="module")
def controlled(checkpoint, tmp_path_factory):
    """SDXL with a ControlNet of it, in its "controlnet"."""
    configs = tmp_path_factory.mktemp("configs") / "controlled"
    shutil.copytree(DATA / "configs/sdxl_two_levels", configs)
    index, net = (json.loads((configs / file).read_text()) for file in ("model_index.json", "unet/config.json"))
    index |= {"_class_name": "StableDiffusionXLControlNetPipeline", "controlnet": ["diffusers", "ControlNetModel"]}
    net |= {"_class_name": "ControlNetModel", "conditioning_embedding_out_channels": [8, 16, 24]}
    (configs / "controlnet").mkdir()
    (configs / "controlnet/config.json").write_text(json.dumps(net))
    (configs / "model_index.json").write_text(json.dumps(index))
    return checkpoint(str(configs))


def test_controlnets(controlled, tiny) -> None:
    picture = numpy.random.default_rng(0).random((32, 32, 3), dtype=numpy.float32)
    pipe = vivace.StableDiffusionXLControlNetPipeline.from_pretrained(controlled)
    plain = draw(pipe, control_image=picture).images
    assert not (draw(pipe, control_image=picture, guess_mode=True).images == plain).all()
    net = controlled / "controlnet"
    beside = vivace.StableDiffusionXLControlNetPipeline.from_pretrained(tiny, controlnet=net)
    assert draw(beside, control_image=picture).images.shape == plain.shape
    for name, more in (("Img2Img", {}), ("Inpaint", {"mask_image": picture})):
        cls = getattr(vivace, f"StableDiffusionXLControlNet{name}Pipeline")
        pipe = cls.from_pretrained(tiny, controlnet=[net])
        assert type(pipe) is cls
        assert draw(pipe, image=picture, control_image=picture, strength=1.0, **more).images.shape == plain.shape


def test_errors(pipe, tmp_path) -> None:
    with pytest.raises(ValueError, match="model_index.json"):
        vivace.DiffusionPipeline.from_pretrained(tmp_path)
    with pytest.raises(vivace.UsageError, match="height is 33"):
        draw(pipe, height=33)
    with pytest.raises(TypeError, match="num_steps"):
        draw(pipe, num_steps=3)
    with pytest.raises(TypeError, match="num_inference_steps"):
        draw(pipe, num_inference_steps="many")
    with pytest.raises(ValueError, match="output_type"):
        draw(pipe, output_type="png")
    with pytest.raises(ValueError, match="cuda"):
        pipe.to("cuda")
    with pytest.raises(AttributeError, match="transformer"):
        pipe.transformer
    assert pipe.to("cpu") is pipe


def test_scheduler(tiny) -> None:
    pipe = vivace.StableDiffusionXLPipeline.from_pretrained(tiny)
    euler = draw(pipe).images
    assert type(pipe.scheduler) is vivace.EulerDiscreteScheduler
    pipe.scheduler = vivace.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    assert pipe.scheduler.config["use_karras_sigmas"] is True
    assert not (draw(pipe).images == euler).all()
    pipe.scheduler = vivace.EulerDiscreteScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=False)
    assert (draw(pipe).images == euler).all()
    scheduler = vivace.EulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    assert len(scheduler.timesteps) == 10 and len(scheduler.sigmas) == 11
    with pytest.raises(TypeError, match="use_karras_sigma"):
        vivace.EulerDiscreteScheduler(use_karras_sigma=True)


def test_compiled_and_quantised(tiny) -> None:
    pipe = vivace.StableDiffusionXLPipeline.from_pretrained(tiny)
    eager = draw(pipe).images
    pipe.unet.compile(mode="default", fullgraph=True)
    assert numpy.abs(draw(pipe).images - eager).max() < 1e-3
    layers = vivace.apply_dynamic_quant(pipe.unet, lambda layer: layer.name.endswith("to_q"))
    assert layers and all(name.endswith("to_q") for name in layers)
    assert not (draw(pipe).images == eager).all()
    assert len(vivace.apply_dynamic_quant(pipe.unet, kind="float8-dynamic")) > len(layers)
    with pytest.raises(ValueError, match="int4"):
        vivace.apply_dynamic_quant(pipe.unet, kind="int4")
    with pytest.raises(ValueError, match="fastest"):
        pipe.unet.compile(mode="fastest")
    with vivace.sdpa_kernel(vivace.SDPBackend.MATH):
        draw(pipe)
    with pytest.raises(ValueError, match="fastest"):
        vivace.sdpa_kernel("fastest")


def test_the_gil_is_released(pipe) -> None:
    counted, done = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    begin = time.monotonic()
    draw(pipe, num_inference_steps=200)
    seconds = time.monotonic() - begin
    done.set()
    thread.join()
    assert counted > 20 * seconds  # of up to 1000 a second, on a machine with other work


def test_two_threads_draw_what_one_draws(pipe) -> None:
    right = [draw(pipe, generator=seed).images for seed in range(2)]
    made = [None, None]

    def work(seed: int) -> None:
        made[seed] = draw(pipe, generator=seed).images

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((a == b).all() for a, b in zip(made, right))


def test_ctrl_c(tiny) -> None:
    program = f"""
import sys, vivace
pipe = vivace.DiffusionPipeline.from_pretrained({str(tiny)!r})
pipe("x", num_inference_steps=1)
print("drawing", flush=True)
try:
    pipe("x", num_inference_steps=1000, height=256, width=256)
except KeyboardInterrupt:
    pipe("x", num_inference_steps=1)
    print("stopped")
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "drawing\n"
    time.sleep(0.3)
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "stopped\n"
    assert process.returncode == 0 and time.monotonic() - begin < 20


def test_ctrl_c_within_and_after_a_call_in_a_callback(tiny) -> None:
    program = f"""
import os, signal, threading, time, vivace
pipe = vivace.DiffusionPipeline.from_pretrained({str(tiny)!r})
def draw(of, step, timestep, given):
    pipe("x", num_inference_steps=steps, height=size, width=size)
    return given
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
steps, size = 1, 32
pipe("x", num_inference_steps=2, callback_on_step_end=draw)
try:
    interrupt()
    time.sleep(10)
except KeyboardInterrupt:
    print("after", flush=True)
steps, size = 1000, 256
threading.Timer(0.3, interrupt).start()
try:
    pipe("x", num_inference_steps=2, callback_on_step_end=draw)
except KeyboardInterrupt:
    print("within")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "after\nwithin\n" and done.returncode == 0, done.stderr
