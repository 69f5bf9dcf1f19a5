"""Golden file of single-file checkpoints: what the tensors of one are called, and which weights of the models they hold.

    python tools/golden/single_files.py        writes tests/weights/data/single_files.json.gz

For each checkpoint a list of [name in the file, shape, how, component, weights of the component]: how is "same", "rows" (the weights' rows one after the
other), "transpose", "swap" (second half of the rows first) or "conv" (a matrix as a convolution of 1x1).

"full": the full-size models of assets/configs. Their names go through Diffusers' own converters as tensors without data; what comes out must be the models'.
"tiny": checkpoints of the pipelines' golden cases, with weights by the rule of weights.py. There the files are written, and Diffusers' from_single_file must
make the same picture of them, bit for bit, as from_pretrained makes of the folder. (Its converter of FLUX has the width of the full-size model written into it,
which is replaced.)
"""

import gzip
import inspect
import json
import re
import shutil
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers.loaders import single_file_utils as utils
from safetensors.torch import load_file, save_file

from golden_file import keep_quiet
from weights import WEIGHT_FILES, checkpoint_names, component, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "weights" / "data" / "single_files.json.gz"
PIPELINES = ROOT / "tests" / "pipelines" / "data" / "configs"
TRANSFORMERS = ROOT / "tests" / "transformer_pipelines" / "data" / "configs"

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "conv_shortcut": "skip_connection"}


def unet_name(name: str, layers: int, has_attention) -> str:
    """A UNet's weight as the original program calls it; `layers` is layers_per_block + 1, `has_attention(b)` says whether up block b has any."""
    fixed = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
    for ours, theirs in fixed.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours):]
    kind, block, part, number, rest = re.fullmatch(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name).groups()
    block, number = int(block or 0), int(number)
    if part == "resnets":
        layer, tail = rest.split(".", 1)
        rest = f"{RESNET[layer]}.{tail}"
    if kind == "mid":
        return f"middle_block.{2 * number + (part == 'attentions')}.{rest}"
    if part == "downsamplers":
        return f"input_blocks.{layers * (block + 1)}.0.op.{rest.split('.')[-1]}"
    if part == "upsamplers":
        return f"output_blocks.{layers * (block + 1) - 1}.{2 if has_attention(block) else 1}.{rest}"
    place = f"input_blocks.{layers * block + number + 1}" if kind == "down" else f"output_blocks.{layers * block + number}"
    return f"{place}.{int(part == 'attentions')}.{rest}"


def unet_rows(weights: dict, config: dict, prefix: str):
    has_attention = lambda b: config["up_block_types"][b] == "CrossAttnUpBlock2D"
    for name in weights:
        yield prefix + unet_name(name, config["layers_per_block"] + 1, has_attention), "same", [name]


def vae_rows(weights: dict, config: dict, prefix: str):
    blocks = len(config["up_block_types"])
    for name in weights:
        new, how = name, "same"
        new = re.sub(r"decoder\.up_blocks\.(\d+)", lambda m: f"decoder.up.{blocks - 1 - int(m[1])}", new).replace("down_blocks", "down")
        new = re.sub(r"\.resnets\.(\d+)", r".block.\1", new) if "mid_block" not in new else re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("upsamplers.0", "upsample").replace("downsamplers.0", "downsample").replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "attentions" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm").replace("to_out.0", "proj_out")
            new = re.sub(r"to_([qkv])\b", r"\1", new)
            how = "conv" if new.endswith("weight") and "norm" not in new else "same"
        yield prefix + new, how, [name]


def same_rows(weights: dict, config: dict, prefix: str):
    for name in weights:
        yield prefix + name, "same", [name]


def open_clip_rows(weights: dict, config: dict, prefix: str):
    for name in weights:
        if name == "text_projection.weight":
            yield prefix + "text_projection", "transpose", [name]
            continue
        if "k_proj" in name or "v_proj" in name:
            continue
        new = name.replace("text_model.final_layer_norm", "ln_final").replace("text_model.encoder.layers.", "transformer.resblocks.").replace("layer_norm", "ln_").replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj")
        new = new.replace("text_model.embeddings.token_embedding", "token_embedding").replace("text_model.embeddings.position_embedding.weight", "positional_embedding")
        new = new.replace("self_attn.out_proj", "attn.out_proj")
        if "q_proj" in name:
            new = new.replace("self_attn.q_proj.", "attn.in_proj_")
            yield prefix + new, "rows", [name.replace("q_proj", p) for p in ("q_proj", "k_proj", "v_proj")]
        else:
            yield prefix + new, "same", [name]


def flux_rows(weights: dict, config: dict, prefix: str):
    plain = {"x_embedder": "img_in", "context_embedder": "txt_in", "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
             "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer", "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
             "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer", "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
             "time_text_embed.text_embedder.linear_2": "vector_in.out_layer", "proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1"}
    double = {"norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.to_q": "img_attn.qkv", "attn.add_q_proj": "txt_attn.qkv",
              "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm", "attn.norm_added_q": "txt_attn.norm.query_norm",
              "attn.norm_added_k": "txt_attn.norm.key_norm", "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj", "ff.net.0.proj": "img_mlp.0",
              "ff.net.2": "img_mlp.2", "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2"}
    single = {"norm.linear": "modulation.lin", "attn.to_q": "linear1", "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm", "proj_out": "linear2"}
    joined = {("double_blocks", "attn.to_q"): ["attn.to_q", "attn.to_k", "attn.to_v"], ("double_blocks", "attn.add_q_proj"): ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
              ("single_blocks", "attn.to_q"): ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]}
    for name in weights:
        module, kind = name.rsplit(".", 1)
        if module in plain:
            yield f"{prefix}{plain[module]}.{kind}", "swap" if module == "norm_out.linear" else "same", [name]
            continue
        blocks, number, layer = re.fullmatch(r"(single_transformer|transformer)_blocks\.(\d+)\.(.*)", module).groups()
        list_, table = ("single_blocks", single) if blocks == "single_transformer" else ("double_blocks", double)
        if layer not in table:
            continue  # a later part of what is joined
        parts = joined.get((list_, layer), [layer])
        file = f"{prefix}{list_}.{number}.{table[layer]}.{'scale' if '_norm' in table[layer] else kind}"
        yield file, "rows" if len(parts) > 1 else "same", [f"{blocks}_blocks.{number}.{p}.{kind}" for p in parts]


ROWS = {"UNet2DConditionModel": unet_rows, "AutoencoderKL": vae_rows, "FluxTransformer2DModel": flux_rows, "T5EncoderModel": same_rows}
# Checkpoint -> component -> (rows, prefix)
SD1 = {"unet": (unet_rows, "model.diffusion_model."), "vae": (vae_rows, "first_stage_model."), "text_encoder": (same_rows, "cond_stage_model.transformer.")}
SD2 = {**SD1, "text_encoder": (open_clip_rows, "cond_stage_model.model.")}
SDXL = {**SD1, "text_encoder": (same_rows, "conditioner.embedders.0.transformer."), "text_encoder_2": (open_clip_rows, "conditioner.embedders.1.model.")}
REFINER = {"unet": SD1["unet"], "vae": SD1["vae"], "text_encoder_2": (open_clip_rows, "conditioner.embedders.0.model.")}
FLUX = {"transformer": (flux_rows, ""), "vae": (vae_rows, "vae."), "text_encoder": (same_rows, "text_encoders.clip_l.transformer."),
        "text_encoder_2": (same_rows, "text_encoders.t5xxl.transformer.")}
FULL = {"sd-v1-5": SD1, "sd-v1-5-inpainting": SD1, "sd-v2-1": SD2, "sd-v2-inpainting": SD2, "sdxl-base": SDXL, "sdxl-inpainting": SDXL, "sdxl-refiner": REFINER,
        "flux-dev": FLUX, "flux-schnell": FLUX}


def make(how: str, parts: list[torch.Tensor]) -> torch.Tensor:
    x = torch.cat(parts)
    if how == "transpose":
        return x.T.contiguous()
    if how == "swap":
        return torch.cat(list(reversed(x.chunk(2)))).contiguous()
    return x[:, :, None, None].contiguous() if how == "conv" else x.contiguous()


def single_file(spelling: dict, folder: Path, tensors: dict[str, dict]) -> tuple[list, dict]:
    """The rows of a checkpoint, and the file's tensors."""
    rows, file = [], {}
    for part, (names, prefix) in spelling.items():
        for name, how, weights in names(tensors[part], json.loads((folder / part / "config.json").read_text()), prefix):
            file[name] = make(how, [tensors[part][w] for w in weights])
            rows.append([name, list(file[name].shape), how, part, weights])
    return rows, file


def convert_flux(width: int):
    source = inspect.getsource(utils.convert_flux_transformer_checkpoint_to_diffusers).replace("inner_dim = 3072", f"inner_dim = {width}")
    scope = {"torch": torch}
    exec(source, scope)
    return scope["convert_flux_transformer_checkpoint_to_diffusers"]


def check_full(name: str, folder: Path, file: dict, tensors: dict) -> None:
    """Diffusers' converters make the models' names and shapes of the file's."""
    shapes = lambda tensors: {k: tuple(v.shape) for k, v in tensors.items()}
    config = lambda part: json.loads((folder / part / "config.json").read_text())
    assert shapes(utils.convert_ldm_vae_checkpoint(dict(file), config("vae"))) == shapes(tensors["vae"]), name
    if "transformer" in tensors:
        own = {k: v for k, v in file.items() if k.split(".")[0] not in ("vae", "text_encoders")}
        assert shapes(convert_flux(3072)(own)) == shapes(tensors["transformer"]), name
        return
    assert shapes(utils.convert_ldm_unet_checkpoint(dict(file), config("unet"))) == shapes(tensors["unet"]), name
    path = utils.fetch_diffusers_config(file)["pretrained_model_name_or_path"]
    print(f"{name:20} is {path} to Diffusers")
    for part, prefix in (("text_encoder", "cond_stage_model.model."), ("text_encoder_2", "conditioner.embedders.1.model."), ("text_encoder_2", "conditioner.embedders.0.model.")):
        if part in tensors and any(k.startswith(prefix + "token") for k in file):
            model = type("Model", (), {"config": type("Config", (), {"hidden_size": config(part)["hidden_size"]})})
            found = shapes(utils.convert_open_clip_checkpoint(model, dict(file), prefix))
            assert found == shapes(tensors[part]), (name, part, set(found) ^ set(tensors[part]))


def full(name: str) -> list:
    folder = ROOT / "assets" / "configs" / name
    tensors = {}
    for part in FULL[name]:
        with torch.device("meta"):
            module = component(part, json.loads((folder / part / "config.json").read_text()))
        state = module.state_dict()
        tensors[part] = {new: state[old] for old, new in checkpoint_names(module).items()}
    rows, file = single_file(FULL[name], folder, tensors)
    check_full(name, folder, file, tensors)
    return rows


TINY = {"sdxl_two_levels": (PIPELINES, SDXL), "sdxl_three_levels": (PIPELINES, SDXL), "sd1": (PIPELINES, SD1), "dev": (TRANSFORMERS, FLUX), "schnell": (TRANSFORMERS, FLUX)}


def picture(pipe) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    return torch.from_numpy(pipe("a red apple", num_inference_steps=2, generator=torch.Generator().manual_seed(7), output_type="np").images)


def tiny(name: str) -> list:
    configs, spelling = TINY[name]
    with tempfile.TemporaryDirectory() as folder:
        source, folder = Path(folder) / "source", Path(folder) / "model"
        shutil.copytree(configs / name, source)
        emoji = ROOT / "assets" / ("emoji-flux" if configs == TRANSFORMERS else "emoji-xl")
        for tokenizer in ("tokenizer", "tokenizer_2"):
            if tokenizer in json.loads((source / "model_index.json").read_text()):
                shutil.copytree(emoji / tokenizer, source / tokenizer)
        write_checkpoint(source, folder, 0)
        tensors = {part: load_file(folder / part / WEIGHT_FILES[part]) for part in spelling}
        rows, file = single_file(spelling, folder, tensors)
        if configs == TRANSFORMERS:
            config = json.loads((folder / "transformer" / "config.json").read_text())
            own = {k: v for k, v in file.items() if k.split(".")[0] not in ("vae", "text_encoders")}
            back = convert_flux(config["num_attention_heads"] * config["attention_head_dim"])(own)
            assert back.keys() == tensors["transformer"].keys() and all(torch.equal(back[k], v) for k, v in tensors["transformer"].items())
            return rows
        pipeline = getattr(diffusers, json.loads((folder / "model_index.json").read_text())["_class_name"])
        save_file(file, folder / "single.safetensors")
        whole = picture(pipeline.from_pretrained(folder))
        one = picture(pipeline.from_single_file(folder / "single.safetensors", config=str(folder), local_files_only=True))
        assert torch.equal(whole, one), name
        return rows


def main() -> None:
    keep_quiet()
    result = {"full": {name: full(name) for name in FULL}, "tiny": {name: tiny(name) for name in TINY}}
    OUT.write_bytes(gzip.compress(json.dumps(result, separators=(",", ":")).encode(), mtime=0))
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
