"""Golden files for adapters: whole pipeline calls with LoRAs in every spelling that is read, with DoRA, LoHa and LoKr.

    python tools/golden/lora.py [case ...]          writes tests/pipelines/data/lora and tests/transformer_pipelines/data/lora

Runs Diffusers with peft in fp32 on the CPU, on the tiny checkpoints of pipelines.py and transformer_pipelines.py. The adapters' tensors follow the rule in
weights.py, so that a case names them with their shapes and stores none.

Two things are not left to Diffusers 0.42. It loses alphas that differ from layer to layer in attention and in text encoders (its alpha_pattern has other
names than the modules), so each module's alpha / rank is set from the file. And kinds that it does not read (LoHa, LoKr, kohya's DoRA; of FLUX, which it takes
to be 3072 wide, the rows that several layers share) are merged into the weights by hand, by the formulas of LyCORIS.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import diffusers
import peft
import torch
from safetensors.torch import save_file

import pipelines
import transformer_pipelines
from golden_file import GoldenWriter, keep_quiet, library_versions
from weights import random_tensor

SDXL = {"pipeline": "StableDiffusionXLPipeline", "checkpoint": "configs/sdxl_three_levels",
        "call": {"prompt": "a red apple", "num_inference_steps": 2, "guidance_scale": 3.0, "generator": {"seed": 7}}}
EMOJI = {"pipeline": "StableDiffusionXLPipeline", "checkpoint": pipelines.EMOJI,
         "call": {"prompt": "a red apple", "num_inference_steps": 4, "guidance_scale": 5.0, "generator": {"seed": 7}}}
FLUX = {"pipeline": "FluxPipeline", "checkpoint": "configs/dev",
        "call": {"prompt": "a red apple", "height": 32, "width": 48, "num_inference_steps": 2, "max_sequence_length": 16, "generator": {"seed": 0}}}

ATTENTION = r"attn[12]\.(to_q|to_k|to_v|to_out\.0)$"
LINEARS = ATTENTION + r"|ff\.net\.(0\.proj|2)$|\.proj_(in|out)$"
INNER_CONVOLUTIONS = r"resnets\.\d\.(conv1|conv2|conv_shortcut|time_emb_proj)$|(down|up)samplers\.0\.conv$"
CONVOLUTIONS = INNER_CONVOLUTIONS + r"|^conv_(in|out)$|^(time|add)_embedding\.linear_[12]$"
SOME = r"down_blocks\.1\.(attentions\.0|downsamplers)|mid_block\.(resnets|attentions\.0\.(proj|transformer_blocks\.0))|up_blocks\.1\.(resnets\.0|attentions\.2|ups)|conv_|time_|add_"  # of the UNet: every kind of module, and files that stay small
TEXT = r"layers\.1\.self_attn\.(q_proj|k_proj|v_proj|out_proj)$|layers\.0\.mlp\.fc[12]$"


def sgm(name: str, layers: int = 2) -> str:
    """A Diffusers module of the UNet under its name in the original code."""
    alone = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    if name in alone:
        return alone[name]
    parts = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    m = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)|mid_block\.(\w+)\.(\d)\.(.+)", name)
    if m[1]:
        block, kind, layer, rest = int(m[2]), m[3], int(m[4]), m[5]
        side, first = ("input_blocks", 1) if m[1] == "down" else ("output_blocks", 0)
        number = (layers + 1) * block + layer + first
        if kind == "attentions":
            return f"{side}.{number}.1.{rest}"
        if kind == "resnets":
            return f"{side}.{number}.0.{parts[rest]}"
        return f"input_blocks.{(layers + 1) * (block + 1)}.0.op" if m[1] == "down" else f"output_blocks.{(layers + 1) * block + layers}.2.conv"
    return f"middle_block.{2 * int(m[7]) + 1}.{m[8]}" if m[6] == "attentions" else f"middle_block.{2 * int(m[7])}.{parts[m[8]]}"


def modules(pipe, part: str, pattern: str) -> dict[str, torch.Size]:
    """Names as published, and the shapes of the weights."""
    found = {}
    for name, module in getattr(pipe, part).named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and re.search(pattern, name) and (part != "unet" or re.match(SOME, name)):
            if part.startswith("text_encoder") and not name.startswith("text_model."):
                name = "text_model." + name
            found[name] = module.weight.shape
    return found


class Adapter:
    """A file: names to shapes, alphas, and what stands for which module: (part, module, base, rows of it or None, whether its halves are swapped)."""

    def __init__(self, seed: int, by_hand: bool = False, metadata: dict | None = None):
        self.seed, self.by_hand, self.metadata, self.tensors, self.alphas, self.entries = seed, by_hand, metadata, {}, {}, []

    def add(self, part: str, module: str, base: str, factors: dict[str, list], rank: int, alpha: float | None = None, rows=None, swap: bool = False) -> None:
        """`factors`: suffix to shape."""
        self.tensors |= {base + suffix: list(shape) for suffix, shape in factors.items()}
        if alpha is not None:
            self.alphas[base + ".alpha"] = alpha
        self.entries.append((part, module, base, rank, rows, swap))

    def json(self) -> dict:
        made = {"tensors": self.tensors, "alphas": self.alphas, "seed": self.seed}
        return {**made, "metadata": self.metadata} if self.metadata else made

    def values(self) -> dict[str, torch.Tensor]:
        return {name: random_tensor(name, shape, self.seed) for name, shape in self.tensors.items()} | {name: torch.tensor(v) for name, v in self.alphas.items()}

    def write(self, path: Path) -> None:
        save_file(self.values(), path, metadata={"format": "pt", **(self.metadata or {})})

    def scale(self, base: str, rank: int) -> float:
        return self.alphas.get(base + ".alpha", rank) / rank if rank else 1.0

    @torch.no_grad()
    def merge(self, pipe, strength: float) -> None:
        v = {name: t.double() for name, t in self.values().items()}
        for part, name, base, rank, rows, swap in self.entries:
            parent = getattr(pipe, part)
            module = parent.get_submodule(name if not part.startswith("text_encoder") or hasattr(parent, "text_model") else name.removeprefix("text_model."))
            delta = delta_of(v, base)
            delta = (delta if rows is None else delta[rows[0] : rows[1]]).reshape(module.weight.shape) * strength * self.scale(base, rank)
            if swap:
                delta = torch.cat(list(delta.chunk(2))[::-1])
            weight = module.weight.double() + delta
            if base + ".dora_scale" in v:
                norm = weight.flatten(1).norm(dim=1)
                weight = weight * (v[base + ".dora_scale"].flatten() / norm).reshape(-1, *[1] * (weight.dim() - 1))
            module.weight.copy_(weight)


def tucker(core: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """LyCORIS' rebuild_tucker: left [p, out], right [q, in]."""
    return torch.einsum("pqyx,po,qi->oiyx", core, left, right)


def delta_of(v: dict[str, torch.Tensor], base: str) -> torch.Tensor:
    if base + ".lora_mid.weight" in v:
        return tucker(v[base + ".lora_mid.weight"], v[base + ".lora_up.weight"].flatten(1).T, v[base + ".lora_down.weight"].flatten(1)).flatten(1)
    if base + ".hada_t1" in v:
        one, two = (tucker(v[f"{base}.hada_t{i}"], v[f"{base}.hada_w{i}_a"], v[f"{base}.hada_w{i}_b"]) for i in (1, 2))
        return (one * two).flatten(1)
    for up, down in ((".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")):
        if base + up in v:
            return v[base + up].flatten(1) @ v[base + down].flatten(1)
    if base + ".hada_w1_a" in v:
        return (v[base + ".hada_w1_a"] @ v[base + ".hada_w1_b"]) * (v[base + ".hada_w2_a"] @ v[base + ".hada_w2_b"])
    w1 = v[base + ".lokr_w1"] if base + ".lokr_w1" in v else v[base + ".lokr_w1_a"] @ v[base + ".lokr_w1_b"]
    if base + ".lokr_t2" in v:
        w2 = tucker(v[base + ".lokr_t2"], v[base + ".lokr_w2_a"], v[base + ".lokr_w2_b"])
    else:
        w2 = v[base + ".lokr_w2"] if base + ".lokr_w2" in v else v[base + ".lokr_w2_a"] @ v[base + ".lokr_w2_b"]
    return torch.kron(w1.reshape(*w1.shape, *[1] * (w2.dim() - 2)), w2.contiguous()).flatten(1)


KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
TO_OLD = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out.0": "to_out", "q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def spelled(pipe, spelling: str, parts: dict[str, str], ranks: list[int], seed: int, **options) -> Adapter:
    adapter = Adapter(seed, spelling in ("loha", "lokr", "kohya_dora", "tucker"), **options)
    for part, pattern in parts.items():
        for i, (name, shape) in enumerate(modules(pipe, part, pattern).items()):
            rank, ones = ranks[i % len(ranks)], [1] * (len(shape) - 2)
            out, columns = shape[0], shape[1:].numel()
            down, up = [rank, *shape[1:]], [out, rank, *ones]
            base, alpha = f"{part}.{name}", None
            if spelling in ("kohya", "kohya_dora", "loha", "lokr", "tucker"):
                base, alpha = KOHYA[part] + (sgm(name) if part == "unet" else name).replace(".", "_"), 1.0 + i % 3
            if spelling == "tucker":  # of LoCon, LoHa and LoKr by turns
                core = [rank, rank, *shape[2:]]
                factors = ({".lora_up.weight": up, ".lora_mid.weight": core, ".lora_down.weight": [rank, shape[1], *ones]},
                           {f".hada_{n}": s for i in "12" for n, s in ((f"w{i}_a", [rank, out]), (f"w{i}_b", [rank, shape[1]]), (f"t{i}", core))},
                           {".lokr_w1": [4, 2], ".lokr_w2_a": [rank, out // 4], ".lokr_w2_b": [rank, shape[1] // 2], ".lokr_t2": core})[i % 3]
            elif spelling == "loha":
                factors = {".hada_w1_a": [out, rank], ".hada_w1_b": [rank, columns], ".hada_w2_a": [out, rank], ".hada_w2_b": [rank, columns]}
            elif spelling == "lokr":
                whole = i % 3 == 0
                factors = {".lokr_w1": [4, 2]} if i % 2 == 0 else {".lokr_w1_a": [4, rank], ".lokr_w1_b": [rank, 2]}
                if whole:
                    factors |= {".lokr_w2": [out // 4, shape[1] // 2, *shape[2:]]}
                else:
                    factors |= {".lokr_w2_a": [out // 4, rank], ".lokr_w2_b": [rank, columns // 2]}
                rank = 0 if whole and i % 2 == 0 else rank
            elif spelling == "old":
                factors = {".lora.down.weight": down, ".lora.up.weight": up}
            elif spelling == "processors":
                kind = next(k for k in TO_OLD if name.endswith("." + k))
                base = base[: -len(kind) - 1] + (".processor." if part == "unet" else ".") + TO_OLD[kind] + "_lora"
                factors = {".down.weight": down, ".up.weight": up}
            elif spelling.startswith("kohya"):
                factors = {".lora_down.weight": down, ".lora_up.weight": up}
                if spelling == "kohya_dora":
                    factors[".dora_scale"] = [out, *[1] * (len(shape) - 1)]
            else:
                factors = {".lora_A.weight": down, ".lora_B.weight": up}
                if spelling == "dora":
                    factors[".lora_magnitude_vector"] = [1, out, 1, 1] if len(shape) == 4 else [out]
            adapter.add(part, name, base, factors, rank, alpha)
    return adapter


class AdapterFile:
    """One of the repository's own."""

    by_hand, alphas = False, {}

    def __init__(self, file: str):
        self.file = file

    def json(self) -> dict:
        return {"file": self.file}

    def write(self, path: Path) -> None:
        shutil.copyfile(pipelines.ROOT / self.file, path)


def emoji_cases(_pipe) -> dict:
    return {"emoji_cyanotype": ([AdapterFile("assets/emoji-xl-cyanotype.safetensors")], [1.0])}


def sdxl_cases(pipe) -> dict:
    everywhere = {"unet": ATTENTION, "text_encoder": TEXT, "text_encoder_2": TEXT}
    targets = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 2, "unet.target_modules": targets})}
    peft_all = spelled(pipe, "peft", everywhere, [4], 1)
    kohya = spelled(pipe, "kohya", {"unet": LINEARS, "text_encoder": TEXT, "text_encoder_2": TEXT}, [4, 2, 3], 4)
    return {
        "peft": ([peft_all], [1.0]),
        "peft_convolutions": ([spelled(pipe, "peft", {"unet": f"{LINEARS}|{CONVOLUTIONS}"}, [4], 2)], [1.0]),
        "peft_alpha_in_metadata": ([spelled(pipe, "peft", {"unet": LINEARS}, [4], 3, metadata=metadata)], [1.0]),
        "kohya": ([kohya], [0.8]),
        "kohya_convolutions": ([spelled(pipe, "kohya", {"unet": INNER_CONVOLUTIONS}, [4], 5)], [1.0]),
        "old_names": ([spelled(pipe, "old", {"unet": ATTENTION}, [4], 6)], [1.0]),
        "processors": ([spelled(pipe, "processors", {"unet": ATTENTION, "text_encoder": TEXT[: TEXT.index("$") + 1]}, [4], 7)], [1.0]),
        "dora": ([spelled(pipe, "dora", {"unet": f"{ATTENTION}|{INNER_CONVOLUTIONS}"}, [4], 8)], [0.7]),
        "two_negative": ([peft_all, kohya], [0.7, -0.4]),
        "two_with_dora": ([peft_all, spelled(pipe, "dora", {"unet": ATTENTION}, [4], 9)], [-0.5, 0.6]),
        "kohya_dora": ([spelled(pipe, "kohya_dora", {"unet": ATTENTION + r"|resnets\.0\.conv1$"}, [4], 10)], [0.7]),
        "loha": ([spelled(pipe, "loha", {"unet": LINEARS + r"|resnets\.0\.conv1$", "text_encoder": TEXT}, [2], 11)], [0.9]),
        "lokr": ([spelled(pipe, "lokr", {"unet": LINEARS + r"|resnets\.\d\.conv1$"}, [2], 12)], [0.9]),
        "tucker": ([spelled(pipe, "tucker", {"unet": r"resnets\.\d\.conv[12]$|(down|up)samplers\.0\.conv$"}, [2], 13)], [0.9]),
    }


def flux_cases(pipe) -> dict:
    t = pipe.transformer
    dim, rank = t.inner_dim, 4

    def shape(name: str) -> torch.Size:
        return t.get_submodule(name).weight.shape

    def pair(name: str, base: str, suffixes=(".lora_A.weight", ".lora_B.weight"), rows: int | None = None) -> dict:
        out, into = shape(name)
        return {suffixes[0]: [rank, into], suffixes[1]: [rows or out, rank]}

    down_up = (".lora_down.weight", ".lora_up.weight")
    single = [("attn.to_q", (0, dim)), ("attn.to_k", (dim, 2 * dim)), ("attn.to_v", (2 * dim, 3 * dim)), ("proj_mlp", (3 * dim, 7 * dim))]
    qkv = {"img": ("to_q", "to_k", "to_v"), "txt": ("add_q_proj", "add_k_proj", "add_v_proj")}

    ai_toolkit = Adapter(1)
    for name in [n for n, m in t.named_modules() if isinstance(m, torch.nn.Linear)]:
        ai_toolkit.add("transformer", name, "transformer." + name, pair(name, name), rank)

    x_flux = Adapter(2)
    for stream, number in (("img", 1), ("txt", 2)):
        for i, name in enumerate(qkv[stream]):
            module = f"transformer_blocks.0.attn.{name}"
            x_flux.add("transformer", module, f"double_blocks.0.processor.qkv_lora{number}", pair(module, "", (".down.weight", ".up.weight"), 3 * dim), rank)
        module = "transformer_blocks.0.attn." + ("to_out.0" if number == 1 else "to_add_out")
        x_flux.add("transformer", module, f"double_blocks.0.processor.proj_lora{number}", pair(module, "", (".down.weight", ".up.weight")), rank)
    for i, name in enumerate(("to_q", "to_k", "to_v")):
        module = f"single_transformer_blocks.1.attn.{name}"
        x_flux.add("transformer", module, "single_blocks.1.processor.qkv_lora", pair(module, "", (".down.weight", ".up.weight"), 3 * dim), rank)
    x_flux.add("transformer", "single_transformer_blocks.1.proj_out", "single_blocks.1.processor.proj_lora", pair("single_transformer_blocks.1.proj_out", "", (".down.weight", ".up.weight")), rank)

    def original(adapter: Adapter, prefix: str, join, suffixes, alpha) -> Adapter:
        def one(module: str, name: str, rows=None, all_rows=None, swap=False):
            adapter.add("transformer", module, prefix + join(name), pair(module, "", suffixes, all_rows), rank, alpha, rows, swap)

        for stream in ("img", "txt"):
            for i, name in enumerate(qkv[stream]):
                one(f"transformer_blocks.0.attn.{name}", f"double_blocks.0.{stream}_attn.qkv", (i * dim, (i + 1) * dim), 3 * dim)
        one("transformer_blocks.0.attn.to_out.0", "double_blocks.0.img_attn.proj")
        one("transformer_blocks.0.ff.net.0.proj", "double_blocks.0.img_mlp.0")
        one("transformer_blocks.0.ff_context.net.2", "double_blocks.0.txt_mlp.2")
        one("transformer_blocks.0.norm1.linear", "double_blocks.0.img_mod.lin")
        for name, rows in single:
            one(f"single_transformer_blocks.0.{name}", "single_blocks.0.linear1", rows, 7 * dim)
        one("single_transformer_blocks.0.proj_out", "single_blocks.0.linear2")
        one("x_embedder", "img_in")
        one("norm_out.linear", "final_layer.adaLN_modulation.1", swap=True)
        one("proj_out", "final_layer.linear")
        return adapter

    kohya = original(Adapter(3, by_hand=True), "lora_unet_", lambda name: name.replace(".", "_"), down_up, 2.0)
    for name, size in modules(pipe, "text_encoder", TEXT).items():
        kohya.add("text_encoder", name, "lora_te1_" + name.replace(".", "_"), {down_up[0]: [rank, size[1]], down_up[1]: [size[0], rank]}, rank, 1.0)
    bfl = original(Adapter(4, by_hand=True), "", lambda name: name, (".lora_A.weight", ".lora_B.weight"), None)
    comfy = original(Adapter(5, by_hand=True), "diffusion_model.", lambda name: name, (".lora_A.weight", ".lora_B.weight"), 3.0)
    return {"ai_toolkit": ([ai_toolkit], [0.7]), "x_flux": ([x_flux], [1.0]), "kohya": ([kohya], [0.8]), "bfl": ([bfl], [1.0]), "comfy": ([comfy], [-0.6])}


def set_scales(pipe, adapter: Adapter, name: str) -> None:
    """alpha / rank of every module as in the file, before set_adapters multiplies by its weight."""
    if not adapter.alphas:
        return
    for part, module, base, rank, _, _ in adapter.entries:
        parent = getattr(pipe, part)
        layer = parent.get_submodule(module if not part.startswith("text_encoder") or hasattr(parent, "text_model") else module.removeprefix("text_model."))
        assert layer.r[name] == rank, (part, module)
        layer.lora_alpha[name] = adapter.alphas[base + ".alpha"]
        layer.scaling[name] = layer.lora_alpha[name] / rank


def run_case(make_checkpoint, case: dict, adapters: list[Adapter], weights: list[float]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        pipe = getattr(diffusers, case["pipeline"]).from_pretrained(make_checkpoint(case, Path(folder)), torch_dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        names = [f"adapter_{i}" for i in range(len(adapters))]
        for name, adapter, weight in zip(names, adapters, weights):
            if adapter.by_hand:
                adapter.merge(pipe, weight)
                continue
            adapter.write(Path(folder) / f"{name}.safetensors")
            pipe.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name)
            set_scales(pipe, adapter, name)
    if adapters and not adapters[0].by_hand:
        pipe.set_adapters(names, weights)
    arguments = {**case["call"], "generator": torch.Generator().manual_seed(case["call"]["generator"]["seed"])}
    return {"latents": pipe(**arguments, output_type="latent").images}


def main() -> None:
    keep_quiet()
    names = sys.argv[1:]
    writers = {source: GoldenWriter(source.DATA / "lora", keep=bool(names)) for source in (pipelines, transformer_pipelines)}
    for base, source, make_cases in ((SDXL, pipelines, sdxl_cases), (EMOJI, pipelines, emoji_cases), (FLUX, transformer_pipelines, flux_cases)):
        writer = writers[source]
        with tempfile.TemporaryDirectory() as folder:
            pipe = getattr(diffusers, base["pipeline"]).from_pretrained(source.make_checkpoint({**base, "weights_seed": 0}, Path(folder)))
            cases = make_cases(pipe)
        plain = run_case(source.make_checkpoint, {**base, "weights_seed": 0}, [], [])["latents"]
        for name, (adapters, weights) in cases.items():
            if names and name not in names:
                continue
            case = {"name": name, **base, "weights_seed": 0, "loras": [a.json() for a in adapters], "adapter_weights": weights}
            outputs = run_case(source.make_checkpoint, case, adapters, weights)
            writer.add(case, outputs, 320)
            change = (outputs["latents"] - plain).pow(2).mean().sqrt() / plain.pow(2).mean().sqrt()
            print(f"{name:28} latents rms {outputs['latents'].pow(2).mean().sqrt():.3f}, changed by {change:.3f}", flush=True)
    for writer in writers.values():
        writer.finish("tools/golden/lora.py", {**library_versions(), "peft": peft.__version__})


if __name__ == "__main__":
    main()
