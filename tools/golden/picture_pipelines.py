"""Golden files for whole pipeline calls that begin with a picture: image to image, inpainting, the refiner, VAE tiles, FLUX with several pictures.

    python tools/golden/picture_pipelines.py          writes tests/picture_pipelines/data
    python tools/golden/picture_pipelines.py NAME ... writes the cases of these names alone, and keeps the others

In fp32 on the CPU, on the tiny checkpoints whose configs pipelines.py and transformer_pipelines.py write, and on assets/emoji-xl. Calls are named as Diffusers
names them; `image` and `mask_image` are files of the folder, lists of them, or described latents. Formats: README.md in this folder.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from components import tiny_config
from golden_file import GoldenWriter, keep_quiet, library_versions, make_input, randn_input
from pipelines import call_arguments, with_scheduler
from weights import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "picture_pipelines" / "data"
EMOJI = "assets/emoji-xl"
XL, SD = "tests/pipelines/data/configs/sdxl_two_levels", "tests/pipelines/data/configs/sd1"
FLUX, KONTEXT = "tests/transformer_pipelines/data/configs/img2img", "tests/transformer_pipelines/data/configs/kontext"

NINE = {"unet/config.json": {"in_channels": 9}}
TINY_VAE = {"model_index.json": {"vae": ["diffusers", "AutoencoderTiny"]}, "vae/config.json": tiny_config(scaling_factor=0.5)}
MEAN_STD = {"vae/config.json": {"latents_mean": [0.5, -1.0, 0.25, 0.0], "latents_std": [2.0, 1.5, 3.0, 1.0]}}
# Its tiles have 512 pixels a side in any case, 448 of which are a step.
TINY_VAE_OF_FOUR = {**TINY_VAE, "vae/config.json": tiny_config(block_out_channels=[16] * 4, encoder_block_out_channels=[16] * 4, decoder_block_out_channels=[16] * 4,
                                                               num_encoder_blocks=[1, 1, 1, 1], num_decoder_blocks=[1, 1, 1, 1], scaling_factor=0.5)}
FLUX_TINY_VAE = {**TINY_VAE, "vae/config.json": tiny_config(block_out_channels=[16, 16], encoder_block_out_channels=[16, 16], decoder_block_out_channels=[16, 16],
                                                            num_encoder_blocks=[1, 2], num_decoder_blocks=[2, 1], scaling_factor=0.5, shift_factor=0.1)}
# One text encoder, whose prompt and pooled prompt have one width, and a score instead of a target size.
REFINER = {
    "model_index.json": {"requires_aesthetics_score": True, "text_encoder": [None, None], "tokenizer": [None, None]},
    "text_encoder_2/config.json": {"projection_dim": 48},
    "unet/config.json": {"cross_attention_dim": 48, "projection_class_embeddings_input_dim": 48 + 5 * 8},
}


def controlled(pipeline: str, unet: str, net: dict) -> dict:
    """A ControlNet of the same fields as the UNet, and pictures four times the latents' size."""
    same = ("in_channels", "down_block_types", "block_out_channels", "layers_per_block", "attention_head_dim", "transformer_layers_per_block", "cross_attention_dim",
            "use_linear_projection", "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim", "norm_num_groups", "downsample_padding")
    fields = json.loads((ROOT / unet / "unet" / "config.json").read_text())
    config = {"_class_name": "ControlNetModel", **{key: fields[key] for key in same if key in fields}, "conditioning_embedding_out_channels": [8, 16, 24], **net}
    return {"model_index.json": {"_class_name": pipeline, "controlnet": ["diffusers", "ControlNetModel"]}, "controlnet/config.json": config}


XL_NET = controlled("StableDiffusionXLControlNetPipeline", XL, {})
SD_NET = controlled("StableDiffusionControlNetPipeline", SD, {})
# Tiles of 16 x 16 pixels, 4 x 4 latents.
SMALL_TILES = {"vae/config.json": {"sample_size": 16}}
SCHEDULERS = {
    "ddim": {"_class_name": "DDIMScheduler"},
    "dpm_2m": {"_class_name": "DPMSolverMultistepScheduler"},
    "dpm_2m_sde": {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
    "unipc": {"_class_name": "UniPCMultistepScheduler"},
    "pndm": {"_class_name": "PNDMScheduler"},
    "heun": {"_class_name": "HeunDiscreteScheduler"},
    "euler_a": {"_class_name": "EulerAncestralDiscreteScheduler"},
    "lcm": {"_class_name": "LCMScheduler"},
}
PIPELINES = {
    ("xl", "img2img"): "StableDiffusionXLImg2ImgPipeline",
    ("xl", "inpaint"): "StableDiffusionXLInpaintPipeline",
    ("sd", "img2img"): "StableDiffusionImg2ImgPipeline",
    ("sd", "inpaint"): "StableDiffusionInpaintPipeline",
    ("xl", "control"): "StableDiffusionXLControlNetPipeline",
    ("sd", "control"): "StableDiffusionControlNetPipeline",
    ("xl", "controlimg2img"): "StableDiffusionXLControlNetImg2ImgPipeline",
    ("xl", "controlinpaint"): "StableDiffusionXLControlNetInpaintPipeline",
    ("sd", "controlimg2img"): "StableDiffusionControlNetImg2ImgPipeline",
    ("sd", "controlinpaint"): "StableDiffusionControlNetInpaintPipeline",
}


def case(name: str, *, checkpoint=None, overrides=None, scheduler=None, tiling=False, controlnets=None, **call) -> dict:
    """The pipeline follows from the name: xl_img2img_..., sd_inpaint_..., flux_..., kontext_...; so do picture and mask, where none are given."""
    words = name.split("_")
    if words[0] in ("xl", "sd", "emoji"):
        kind = "sd" if words[0] == "sd" else "xl"
        result = {"name": name, "pipeline": PIPELINES[kind, words[1]], "checkpoint": checkpoint or (SD if kind == "sd" else XL)}
        defaults = {"prompt": "a red apple", "num_inference_steps": 4, "image": "square.png", "generator": 7}
        if words[1] == "inpaint":
            defaults |= {"mask_image": "mask.png", "height": 32, "width": 32}
        if words[1].startswith("control"):
            overrides = {**(XL_NET if kind == "xl" else SD_NET), **(overrides or {})}
            defaults["image"] = "wide.png" if words[1] == "control" else "square.png"
        if words[1] == "controlimg2img":
            defaults |= {"control_image": "square.png", "strength": 0.6}
        if words[1] == "controlinpaint":
            defaults |= {"mask_image": "mask.png", "control_image": "square.png", "strength": 0.7}
        if words[0] == "emoji":
            result["checkpoint"] = EMOJI
    else:
        result = {"name": name, "pipeline": "FluxImg2ImgPipeline" if words[0] == "flux" else "FluxKontextPipeline"}
        result["checkpoint"] = FLUX if words[0] == "flux" else KONTEXT
        defaults = {"prompt": "a red apple", "num_inference_steps": 3, "height": 32, "width": 32, "max_sequence_length": 16, "generator": 7}
        if words[0] == "kontext":
            defaults |= {"max_area": 1024, "_auto_resize": False, "num_inference_steps": 2}
    result |= {key: value for key, value in [("overrides", overrides), ("scheduler", scheduler), ("vae_tiling", tiling), ("controlnets", controlnets)] if value}
    result["weights_seed"] = 0
    call = {key: value for key, value in {**defaults, **call}.items() if value is not None}
    seeds = call["generator"]
    call["generator"] = {"seeds": seeds} if isinstance(seeds, list) else {"seed": seeds}
    return {**result, "call": call}


def latents(name: str, shape) -> dict:
    return randn_input(name, "latents", shape)


TWO = ["a dog", "a cat"]
CASES = [
    # image to image
    case("xl_img2img", num_inference_steps=10),
    case("xl_img2img_strength", strength=0.75, negative_prompt="blue"),
    case("xl_img2img_strength_one", strength=1.0, num_inference_steps=3),
    case("xl_img2img_no_guidance", strength=0.5, guidance_scale=1.0),
    case("xl_img2img_odd_size", strength=0.6, image="wide.png"),
    case("xl_img2img_images_per_prompt", strength=0.6, num_images_per_prompt=2),
    case("xl_img2img_two_pictures", strength=0.6, prompt=TWO, image=["square.png", "wide.png"], num_images_per_prompt=2),
    case("xl_img2img_generators", strength=0.6, prompt=TWO, generator=[3, 4]),
    case("xl_img2img_generators_two_pictures", strength=0.6, prompt=TWO, image=["square.png", "wide.png"], generator=[3, 4]),
    case("xl_img2img_latents_as_image", strength=0.6, prompt=TWO, image=latents("as_image", (1, 4, 8, 10))),
    case("xl_img2img_latents", strength=0.6, latents=latents("img2img", (1, 4, 8, 6))),
    case("xl_img2img_timesteps", strength=0.6, timesteps=[951, 701, 451, 201, 1]),
    case("xl_img2img_sizes", strength=0.6, original_size=[64, 48], crops_coords_top_left=[4, 8], negative_original_size=[16, 24], negative_crops_coords_top_left=[1, 2],
         negative_target_size=[128, 96]),
    case("xl_img2img_mean_std", strength=0.6, overrides=MEAN_STD),
    case("xl_img2img_tiny_vae", strength=0.6, overrides=TINY_VAE),
    case("xl_img2img_denoising_start", denoising_start=0.6, num_inference_steps=10, image=latents("start", (1, 4, 8, 8))),
    case("xl_img2img_denoising_start_and_end", denoising_start=0.4, denoising_end=0.7, num_inference_steps=10, output_type="latent"),
    case("xl_img2img_denoising_start_heun", denoising_start=0.5, num_inference_steps=7, scheduler=SCHEDULERS["heun"]),
    case("xl_img2img_refiner", strength=0.5, overrides=REFINER),
    case("xl_img2img_refiner_scores", strength=0.5, overrides=REFINER, aesthetic_score=7.5, negative_aesthetic_score=1.0, negative_original_size=[16, 24],
         negative_crops_coords_top_left=[1, 2], negative_prompt="blue"),
    case("xl_img2img_refiner_behind_a_base", denoising_start=0.8, num_inference_steps=20, overrides=REFINER, image=latents("base", (1, 4, 8, 8))),
    *[case(f"xl_img2img_{name}", strength=0.6, num_inference_steps=5, scheduler=fields, guidance_scale=1.0 if name == "lcm" else 5.0) for name, fields in SCHEDULERS.items()],
    case("sd_img2img", num_inference_steps=5),
    case("sd_img2img_negative_wide", strength=0.5, negative_prompt="blue", image="wide.png"),
    case("sd_img2img_ddim_eta", strength=0.5, scheduler=SCHEDULERS["ddim"], eta=0.5, generator=8),
    case("sd_img2img_batch", strength=0.5, prompt=TWO, image=["square.png", "wide.png"], clip_skip=1, generator=8),
    case("emoji_img2img", prompt="a red apple", image="emoji.png", strength=0.6, num_inference_steps=10),
    # inpainting
    case("xl_inpaint"),
    case("xl_inpaint_strength", strength=0.5, num_inference_steps=6),
    case("xl_inpaint_strength_one", strength=1.0, num_inference_steps=3),
    case("xl_inpaint_other_sizes", image="wide.png", mask_image="soft_mask.png", height=40, width=56),
    case("xl_inpaint_own_size", height=None, width=None, strength=0.8),
    case("xl_inpaint_two_masks", prompt=TWO, mask_image=["mask.png", "soft_mask.png"], strength=0.7),
    case("xl_inpaint_two_pictures_generators", prompt=TWO, image=["square.png", "wide.png"], generator=[3, 4], num_images_per_prompt=1, strength=0.7),
    case("xl_inpaint_euler_a", scheduler=SCHEDULERS["euler_a"], strength=0.7),
    case("xl_inpaint_dpm_2m", scheduler=SCHEDULERS["dpm_2m"], strength=0.7),
    case("xl_inpaint_heun", scheduler=SCHEDULERS["heun"], strength=0.7),
    case("xl_inpaint_ddim_no_guidance", scheduler=SCHEDULERS["ddim"], strength=0.7, guidance_scale=1.0),
    case("xl_inpaint_latents", latents=latents("inpaint", (1, 4, 8, 8))),
    case("xl_inpaint_latents_as_image", image=latents("inpaint_image", (1, 4, 8, 8)), strength=0.6),
    case("xl_inpaint_denoising_start_and_end", denoising_start=0.3, denoising_end=0.8, num_inference_steps=10, output_type="latent"),
    case("xl_inpaint_tiny_vae_euler_a", overrides=TINY_VAE, scheduler=SCHEDULERS["euler_a"], strength=0.7),
    case("xl_inpaint_crop", padding_mask_crop=3, strength=0.8),
    case("xl_inpaint_crop_soft", padding_mask_crop=8, image="wide.png", mask_image="soft_mask.png", height=24, width=40),
    case("xl_inpaint_nine", overrides=NINE),
    case("xl_inpaint_nine_strength_one", overrides=NINE, strength=1.0),
    case("xl_inpaint_nine_batch_euler_a", overrides=NINE, prompt=TWO, num_images_per_prompt=2, strength=0.6, scheduler=SCHEDULERS["euler_a"]),
    case("xl_inpaint_nine_generators", overrides=NINE, prompt=TWO, image=["square.png", "wide.png"], generator=[3, 4], strength=0.6),
    case("xl_inpaint_nine_masked_latents", overrides=NINE, masked_image_latents=latents("masked", (1, 4, 8, 8))),
    case("xl_inpaint_nine_crop", overrides=NINE, padding_mask_crop=4, guidance_scale=1.0),
    case("sd_inpaint"),
    case("sd_inpaint_strength_ddim", strength=0.6, scheduler=SCHEDULERS["ddim"], generator=8),
    case("sd_inpaint_outdated_pndm", overrides={"scheduler/scheduler_config.json": {"steps_offset": 0, "skip_prk_steps": False}}, generator=9),
    case("sd_inpaint_nine", overrides=NINE),
    case("sd_inpaint_nine_crop", overrides=NINE, padding_mask_crop=4, strength=0.75, generator=8),
    # ControlNets; several are one that reads several pictures
    case("xl_control", height=32, width=32),
    case("xl_control_own_size", negative_prompt="blue", num_images_per_prompt=2, num_inference_steps=2),
    case("xl_control_two_pictures", prompt=TWO, image=["square.png", "wide.png"], height=32, width=48, num_images_per_prompt=2, num_inference_steps=2),
    case("xl_control_scale_start_end", height=32, width=32, num_inference_steps=8, controlnet_conditioning_scale=0.6, control_guidance_start=0.25, control_guidance_end=0.7),
    case("xl_control_no_guidance_denoising_end", height=32, width=32, guidance_scale=1.0, denoising_end=0.6, control_guidance_end=0.5, output_type="latent"),
    case("xl_control_several", height=32, width=32, controlnets=2, image=["square.png", "wide.png"], controlnet_conditioning_scale=[0.75, -0.5], control_guidance_start=[0.0, 0.3],
         control_guidance_end=[1.0, 0.8]),
    case("xl_control_heun", height=32, width=32, scheduler=SCHEDULERS["heun"], control_guidance_end=0.6),
    case("sd_control", height=32, width=32),
    case("sd_control_ddim_width", width=40, scheduler=SCHEDULERS["ddim"], negative_prompt="blue", controlnet_conditioning_scale=1.5, generator=8),
    # as it is: these classes correct no scheduler
    case("sd_control_outdated_pndm", height=32, width=32, overrides={"scheduler/scheduler_config.json": {"steps_offset": 0, "skip_prk_steps": False}}, generator=9),
    case("xl_control_guess", height=32, width=32, guess_mode=True),
    case("xl_control_guess_several", height=32, width=32, guess_mode=True, controlnets=2, image=["square.png", "wide.png"], controlnet_conditioning_scale=[0.75, -0.5]),
    case("sd_control_guess_no_guidance", height=32, width=32, guess_mode=True, guidance_scale=1.0),
    case("xl_controlimg2img"),
    case("xl_controlimg2img_size", height=40, width=32, image="wide.png", control_image="wide.png", negative_prompt="blue", num_inference_steps=8, controlnet_conditioning_scale=0.6,
         control_guidance_start=0.25, control_guidance_end=0.8),
    case("xl_controlimg2img_guess_two", prompt=TWO, image=["square.png", "square.png"], guess_mode=True, num_images_per_prompt=2, num_inference_steps=2, strength=1.0),
    case("sd_controlimg2img", generator=8),
    # told no guidance, though it was distilled with it
    case("sd_controlimg2img_distilled", overrides={"unet/config.json": {"time_cond_proj_dim": 8}}, generator=8),
    case("sd_controlimg2img_several_guess", controlnets=2, control_image=["square.png", "square.png"], guess_mode=True, generator=8),
    case("xl_controlinpaint"),
    case("xl_controlinpaint_crop", padding_mask_crop=3, guess_mode=True),
    case("xl_controlinpaint_denoising_start_and_end", denoising_start=0.3, denoising_end=0.8, num_inference_steps=10, control_guidance_end=0.7, output_type="latent"),
    case("xl_controlinpaint_mean_std", overrides=MEAN_STD),
    case("xl_controlinpaint_nine", overrides=NINE),
    case("sd_controlinpaint", strength=None, scheduler=SCHEDULERS["ddim"]),
    case("sd_controlinpaint_crop_nine", overrides=NINE, padding_mask_crop=4, generator=8),
    # VAE tiles
    case("xl_img2img_tiles", strength=0.6, image="wide.png", overrides=SMALL_TILES, tiling=True),
    case("xl_inpaint_tiles", strength=0.6, height=40, width=32, overrides=SMALL_TILES, tiling=True),
    case("sd_inpaint_tiny_tiles", strength=0.6, height=480, width=64, overrides=TINY_VAE_OF_FOUR, tiling=True, generator=8),
    # FLUX
    case("flux_img2img_two_pictures", prompt=TWO, image=["square.png", "wide.png"], strength=0.7),
    case("flux_img2img_generators", prompt=TWO, image=["square.png", "wide.png"], strength=0.7, generator=[3, 4]),
    case("flux_img2img_one_picture_generators", prompt=TWO, image="square.png", strength=0.7, generator=[3, 4]),
    case("flux_img2img_latents_as_image", image=latents("flux", (1, 4, 16, 16)), strength=0.7),
    case("flux_img2img_tiny_vae", image="square.png", strength=0.7, overrides=FLUX_TINY_VAE),
    case("kontext_tiny_vae", image="square.png", overrides=FLUX_TINY_VAE),
    case("kontext_two_pictures", prompt=TWO, image=["square.png", "wide.png"]),
    case("kontext_latents_as_image", image=latents("kontext", (1, 4, 12, 20))),
    case("kontext_generators", prompt=TWO, image="wide.png", generator=[3, 4]),
]


MODEL_CASE = {
    "name": "controlnet_model",
    "pipeline": "",
    "checkpoint": XL,
    "overrides": XL_NET,
    "weights_seed": 0,
    "timestep": 321,
    "conditioning_scale": 0.7,
    "inputs": {
        "sample": randn_input("controlnet_model", "sample", (2, 4, 6, 10)),
        "encoder_hidden_states": randn_input("controlnet_model", "states", (2, 7, 80)),
        "controlnet_cond": randn_input("controlnet_model", "cond", (2, 3, 24, 40)),
        "text_embeds": randn_input("controlnet_model", "pooled", (2, 24)),
        "time_ids": {"shape": [2, 6], "values": [64, 48, 0, 0, 64, 48, 32, 32, 4, 8, 128, 96]},
    },
}


def run_model() -> dict:
    """A ControlNet called on its own."""
    with tempfile.TemporaryDirectory() as folder:
        net = diffusers.ControlNetModel.from_pretrained(make_checkpoint(MODEL_CASE, Path(folder)) / "controlnet")
    inputs = {name: make_input(spec) for name, spec in MODEL_CASE["inputs"].items()}
    added = {name: inputs.pop(name) for name in ("text_embeds", "time_ids")}
    with torch.no_grad():
        down, mid = net(**inputs, timestep=MODEL_CASE["timestep"], conditioning_scale=MODEL_CASE["conditioning_scale"], added_cond_kwargs=added, return_dict=False)
    return {**{f"down.{i}": x for i, x in enumerate(down)}, "mid": mid}


def pattern(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([128 + 120 * np.sin(x / 3.0), 128 + 100 * np.cos(y / 4.0), (x * 5 + y * 7) % 256], axis=-1)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def write_inputs() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    for name, size in {"square": (32, 32), "wide": (38, 53), "emoji": (128, 128)}.items():
        pattern(*size).save(DATA / f"{name}.png", optimize=True)
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[9:20, 6:23] = 255
    Image.fromarray(mask).save(DATA / "mask.png", optimize=True)
    mask = np.zeros((38, 53, 3), np.uint8)
    mask[12:19, 25:45] = [255, 255, 200]
    VaeImageProcessor.blur(Image.fromarray(mask), 2).save(DATA / "soft_mask.png", optimize=True)


def make_checkpoint(item: dict, folder: Path) -> Path:
    if item["checkpoint"] == EMOJI:
        return ROOT / EMOJI
    configs = folder / "configs"
    shutil.copytree(ROOT / item["checkpoint"], configs)
    for file, fields in item.get("overrides", {}).items():
        path = configs / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **fields}))
    index = json.loads((configs / "model_index.json").read_text())
    (configs / "model_index.json").write_text(json.dumps({**index, "_diffusers_version": diffusers.__version__}))  # inpainting asks for it
    tokenizers = ROOT / ("assets/emoji-flux" if "Flux" in item["pipeline"] else EMOJI)
    for entry in ("tokenizer", "tokenizer_2"):
        if index.get(entry, [None])[0]:
            shutil.copytree(tokenizers / entry, configs / entry)
    for entry in ("text_encoder", "text_encoder_2"):
        if not index.get(entry, [None])[0] and (configs / entry).exists():
            shutil.rmtree(configs / entry)
    write_checkpoint(configs, folder / "checkpoint", item["weights_seed"])
    return folder / "checkpoint"


def pictures(value):
    """A file, several, or latents."""
    if isinstance(value, dict):
        return make_input(value)
    return [pictures(v) for v in value] if isinstance(value, list) else Image.open(DATA / value)


def run_case(item: dict) -> tuple[dict, dict]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(item, Path(folder))
        nets = {}
        if "controlnets" in item:
            nets["controlnet"] = diffusers.MultiControlNetModel([diffusers.ControlNetModel.from_pretrained(checkpoint / "controlnet")] * item["controlnets"])
        pipe = getattr(diffusers, item["pipeline"]).from_pretrained(checkpoint, torch_dtype=torch.float32, **nets)
    pipe.set_progress_bar_config(disable=True)
    if pipe.text_encoder is not None and not hasattr(pipe.text_encoder, "text_model"):  # as in pipelines.py
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    if item.get("vae_tiling"):
        pipe.vae.enable_tiling()
    item = with_scheduler(pipe, item)
    last = {}

    def keep_latents(_pipe, _step, _timestep, tensors):
        last["latents"] = tensors["latents"].clone()
        return tensors

    args = call_arguments(item["call"])
    for key in ("image", "mask_image", "control_image", "masked_image_latents"):
        if key in args:
            args[key] = pictures(args[key])
    kind = "pil" if "padding_mask_crop" in args else "np"
    images = pipe(**{"output_type": kind, **args}, callback_on_step_end=keep_latents).images
    outputs = {"latents": last["latents"]}
    if args.get("output_type") != "latent":
        outputs["images"] = torch.from_numpy(np.stack([np.asarray(image) / 255 for image in images]) if kind == "pil" else images)
    return item, outputs


def main() -> None:
    keep_quiet()
    names = sys.argv[1:]
    write_inputs()
    writer = GoldenWriter(DATA, keep=bool(names))
    for item in CASES:
        if names and item["name"] not in names:
            continue
        item, outputs = run_case(item)
        writer.add(item, outputs, 320)
        print(f"{item['name']:40} latents rms {writer.cases[-1]['outputs']['latents']['rms']:8.3f}", flush=True)
    if not names or MODEL_CASE["name"] in names:
        writer.add(MODEL_CASE, run_model(), 160)
    writer.finish("tools/golden/picture_pipelines.py", library_versions())


if __name__ == "__main__":
    main()
