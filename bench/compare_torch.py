#!/usr/bin/env python3
"""Times Vivace's SDXL UNet step, VAE decode, slices of FLUX and CogVideoX and CogVideoX's VAE against PyTorch and others, on one machine in one run.

    python bench/compare_torch.py unet --dtype bf16 --height 512 --width 512 --peers eager compile openvino --vivace build/vivace
    python bench/compare_torch.py flux-slice --peers eager compile int8 --vivace build/vivace \\
        --vivace-options "bf16=--compile max-autotune" --vivace-options "int8=--compile max-autotune --quantize int8-dynamic --quantize-filter all"
    python bench/compare_torch.py cogvideox-slice --height 480 --width 720 --num-frames 49 --rounds 3 --warm-ups 1 --peers eager compile --vivace build/vivace \\
        --vivace-options "bf16=--compile max-autotune" --vivace-options "int8=--compile max-autotune --quantize int8-dynamic --quantize-filter all"
    python bench/compare_torch.py cogvideox-vae-decode --height 240 --width 360 --num-frames 9 --limit 900 --peers eager compile --vivace build/vivace

The models have SDXL's full size (flux-slice: 2 double and 4 single blocks of FLUX.1 at full width, 512 text tokens; cogvideox-transformer: CogVideoX-2b's,
226 text tokens; cogvideox-slice: 4 of its 30 blocks) and random weights, made in the storage dtype at once (never in fp32 first). Every contestant lives in a
process of its own; the rounds go through all contestants in turn, starting one further each round, so that a slow minute of the machine hits
all of them. A contestant that is not at work is stopped (SIGSTOP), so that its threads can't spin. Where all models together would not fit
into memory, or with --restart, a contestant is started anew for each of its turns. With --limit a peer that takes longer to be ready, or for one
run, is left out with a line that says so.

Peers (--peers): eager, channels_last (eager with channels-last weights and inputs), compile (torch.compile with freezing), int8 (torchao dynamic
int8 linear layers, compiled), zentorch (torch.compile by AMD's backend, with freezing), openvino, openvino-int8 (weights in int8 by NNCF; OpenVINO
quantises activations where the processor has VNNI). zentorch is built for one version of torch: --peer-python zentorch=VENV/bin/python gives it its own.

Vivace, by either option:
  --vivace PROGRAM      runs `PROGRAM bench-component COMPONENT --dtype .. --height .. --width .. --batch .. --threads .. --runs N --json`
                        each turn and reads the last line of its output: {"seconds": [..]}, the N runs after a warm-up of its own. The checkpoint
                        has the size of the peers' model and random weights, unless --vivace-options names one (--model DIR)
  --vivace-options "[NAME=]OPTIONS"  more options for that; may be given several times, a contestant each
  --vivace-worker CMD   starts CMD once, in the protocol of the workers here: it prints {"ready": seconds} when warm, then answers each line
                        "run" with {"seconds": s}, and ends at the end of its input. May be given several times, as NAME=CMD, to compare
                        settings of Vivace with one another

Needs: pip install torch diffusers (and torchao, openvino, nncf for those peers).
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

DOWN, CROSS_DOWN, UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
UNET = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "down_block_types": [DOWN, CROSS_DOWN, CROSS_DOWN],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": [CROSS_UP, CROSS_UP, UP],
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
# 1.25 billion parameters.
FLUX_SLICE = {
    "_class_name": "FluxTransformer2DModel",
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "guidance_embeds": False,
    "in_channels": 64,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 2,
    "num_single_layers": 4,
    "patch_size": 1,
    "pooled_projection_dim": 768,
}
FLUX_TOKENS = 512  # of the text
SDXL, COGVIDEOX = "sdxl-base", "cogvideox-2b"  # their configs in assets/configs
COGVIDEOX_LAYERS = 4  # 0.25 billion parameters with what is around them
COGVIDEOX_TOKENS = 226
# For trying the script itself.
TINY_FLUX = {**FLUX_SLICE, "num_attention_heads": 2}
TINY_UNET = {**UNET, "block_out_channels": [32, 64, 64], "attention_head_dim": [1, 2, 2], "transformer_layers_per_block": [1, 1, 1]}
TINY_VAE = {**VAE, "block_out_channels": [32, 32, 64, 64]}
PARAMETERS = {"unet": 2.57e9, "vae-decode": 0.084e9, "flux-slice": 1.25e9, "cogvideox-slice": 0.25e9, "cogvideox-transformer": 1.69e9, "cogvideox-vae-decode": 0.216e9}
PEERS = ["eager", "channels_last", "compile", "int8", "zentorch", "openvino", "openvino-int8"]
ROOT = Path(__file__).resolve().parents[1]
TORCH_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def config_of(around: str, part: str, changed: dict) -> dict:
    return json.loads((ROOT / "assets" / "configs" / around / part / "config.json").read_text()) | changed


def cogvideox_config(part: str, tiny: bool, **changed) -> dict:
    config = config_of(COGVIDEOX, part, changed)
    if part == "transformer":
        return {**config, "num_attention_heads": 2} if tiny else config
    return {**config, "block_out_channels": [32, 32, 64, 64]} if tiny else config


# Which part of a checkpoint a component is, its configuration, and whose configurations are around it.
def part_of(component: str, tiny: bool = False) -> tuple[str, dict, str]:
    return {
        "unet": lambda: ("unet", config_of(SDXL, "unet", TINY_UNET if tiny else UNET), SDXL),
        "vae-decode": lambda: ("vae", config_of(SDXL, "vae", TINY_VAE if tiny else VAE), SDXL),
        "flux-slice": lambda: ("transformer", TINY_FLUX if tiny else FLUX_SLICE, "flux-schnell"),
        "cogvideox-slice": lambda: ("transformer", cogvideox_config("transformer", tiny, num_layers=COGVIDEOX_LAYERS), COGVIDEOX),
        "cogvideox-transformer": lambda: ("transformer", cogvideox_config("transformer", tiny), COGVIDEOX),
        "cogvideox-vae-decode": lambda: ("vae", cogvideox_config("vae", tiny), COGVIDEOX),
    }[component]()


# ---------------------------------------------------------------------------------------------- the workers' side


def random_weights(module, dtype):
    """Weights of variance 1 / fan_in in `dtype`, tiled from one block of noise: drawing 2.6 billion numbers would take minutes."""
    import torch

    module = module.to(dtype).to_empty(device="cpu")
    noise = torch.rand(1 << 20) * 3.4641 - 1.7320508
    for name, p in module.named_parameters():
        flat = p.data.view(-1)
        if p.dim() == 1:
            flat.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            continue
        block = (noise / (p[0].numel() ** 0.5)).to(dtype)
        for start in range(0, flat.numel(), block.numel()):
            part = flat[start : start + block.numel()]
            part.copy_(block[: part.numel()])
    return module.eval().requires_grad_(False)


def set_positions(transformer) -> None:
    """The table that a model made on no device lacks."""
    embed = transformer.patch_embed
    table = embed._get_positional_embeddings(embed.sample_height, embed.sample_width, embed.sample_frames)
    embed.register_buffer("pos_embedding", table.to(embed.proj.weight.dtype), persistent=False)


def build(args):
    """The model as a module of plain tensors, and its inputs."""
    import torch
    from diffusers import AutoencoderKL, AutoencoderKLCogVideoX, CogVideoXTransformer3DModel, FluxTransformer2DModel, UNet2DConditionModel

    dtype = getattr(torch, TORCH_DTYPES[args.dtype])
    height, width = args.height // 8, args.width // 8

    class Unet(torch.nn.Module):
        def __init__(self, unet):
            super().__init__()
            self.unet = unet

        def forward(self, sample, timestep, text, text_embeds, time_ids):
            added = {"text_embeds": text_embeds, "time_ids": time_ids}
            return self.unet(sample, timestep, text, added_cond_kwargs=added, return_dict=False)[0]

    class Flux(torch.nn.Module):
        def __init__(self, transformer):
            super().__init__()
            self.transformer = transformer

        def forward(self, latents, timestep, text, pooled, img_ids, txt_ids):
            return self.transformer(latents, text, pooled, timestep, img_ids, txt_ids, return_dict=False)[0]

    class CogVideoX(torch.nn.Module):
        def __init__(self, transformer):
            super().__init__()
            self.transformer = transformer

        def forward(self, latents, timestep, text):
            return self.transformer(latents, text, timestep, return_dict=False)[0]

    class DecodeVideo(torch.nn.Module):
        def __init__(self, vae):
            super().__init__()
            self.decoder = vae.decoder

        def forward(self, latents):  # of one batch of frames
            return self.decoder(latents)[0]

    class Decode(torch.nn.Module):
        def __init__(self, vae):
            super().__init__()
            self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv

        def forward(self, latents):
            return self.decoder(self.post_quant_conv(latents))

    torch.manual_seed(0)
    with torch.device("meta"):
        if args.component == "unet":
            model = Unet(UNet2DConditionModel.from_config(TINY_UNET if args.tiny else UNET))
        elif args.component == "flux-slice":
            model = Flux(FluxTransformer2DModel.from_config(part_of(args.component, args.tiny)[1]))
        elif args.component in ("cogvideox-slice", "cogvideox-transformer"):
            model = CogVideoX(CogVideoXTransformer3DModel.from_config(part_of(args.component, args.tiny)[1]))
        elif args.component == "cogvideox-vae-decode":
            model = DecodeVideo(AutoencoderKLCogVideoX.from_config(part_of(args.component, args.tiny)[1]))
        else:
            model = Decode(AutoencoderKL.from_config(TINY_VAE if args.tiny else VAE))
    if args.component == "flux-slice":
        rows, columns = height // 2, width // 2
        img_ids = torch.zeros(rows, columns, 3)
        img_ids[..., 1] += torch.arange(rows)[:, None]
        img_ids[..., 2] += torch.arange(columns)
        noise = [torch.randn(args.batch, *shape).to(dtype) for shape in ((rows * columns, 64), (FLUX_TOKENS, 4096), (768,))]
        ids = (img_ids.view(-1, 3).to(dtype), torch.zeros(FLUX_TOKENS, 3).to(dtype))
        return random_weights(model, dtype), (noise[0], torch.full((args.batch,), 0.5).to(dtype), noise[1], noise[2], *ids)
    if args.component.startswith("cogvideox"):
        frames = (args.num_frames - 1) // 4 + 1
        if args.component == "cogvideox-vae-decode":
            return random_weights(model, dtype), (torch.randn(args.batch, 16, frames, height, width).to(dtype),)
        model = random_weights(model, dtype)
        set_positions(model.transformer)
        inputs = [torch.randn(args.batch, *shape).to(dtype) for shape in ((frames, 16, height, width), (COGVIDEOX_TOKENS, 4096))]
        return model, (inputs[0], torch.full((args.batch,), 500), inputs[1])
    latents = torch.randn(args.batch, 4, height, width).to(dtype)
    if args.component == "vae-decode":
        return random_weights(model, dtype), (latents,)
    text = torch.randn(args.batch, 77, 2048).to(dtype)
    pooled = torch.randn(args.batch, 1280).to(dtype)
    time_ids = torch.tensor([[args.height, args.width, 0, 0, args.height, args.width]] * args.batch).to(dtype)
    return random_weights(model, dtype), (latents, torch.tensor(500.0), text, pooled, time_ids)


def openvino_tensor(tensor):
    import openvino
    import torch

    if tensor.dtype == torch.bfloat16:  # numpy has no bf16
        return openvino.Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), openvino.Type.bf16)
    return openvino.Tensor(tensor.numpy())


def prepare(args):
    """A callable that runs the peer's model once and returns when the result is there."""
    import torch

    torch.set_num_threads(args.threads)
    model, inputs = build(args)
    if args.worker == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        inputs = (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])
    elif args.worker in ("compile", "int8", "zentorch"):
        import torch._inductor.config

        torch._inductor.config.freezing = True
        if args.worker == "int8":
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

            quantize_(model, Int8DynamicActivationInt8WeightConfig())
        if args.worker == "zentorch":
            import zentorch  # noqa: F401, registers the backend

        model = torch.compile(model, backend="zentorch" if args.worker == "zentorch" else "inductor")
    elif args.worker.startswith("openvino"):
        import openvino

        # Converting runs the model once, which is slow in bf16 where the processor has no bf16 products: it does so on small latents (those of slices
        # come with a position each).
        example = inputs if args.component.endswith("-slice") else (inputs[0][..., :4, :4].contiguous(), *inputs[1:])
        converted = openvino.convert_model(model, example_input=example)
        converted.reshape({i: openvino.PartialShape(list(tensor.shape)) for i, tensor in enumerate(inputs)})
        precision = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[args.dtype]
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY"}
        if args.worker == "openvino-int8":
            import nncf

            converted = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_SYM)
        compiled = openvino.Core().compile_model(converted, "CPU", settings)
        del model, converted  # not before: the converted model reads bf16 weights where PyTorch has them
        tensors = [openvino_tensor(t) for t in inputs]
        return lambda: compiled(tensors)
    return lambda: model(*inputs)


def worker(args) -> None:
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    start = time.perf_counter()
    with torch.no_grad():
        run = prepare(args)
        for _ in range(args.warm_ups):
            run()
        print(json.dumps({"ready": time.perf_counter() - start}), flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            run()
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


# ---------------------------------------------------------------------------------------------- the harness's side


class ContestantError(RuntimeError):
    pass


class TooSlow(ContestantError):
    pass


class Worker:
    """A contestant in the workers' protocol. `limit`: the most seconds for an answer, None for any number."""

    def __init__(self, name: str, command: list[str], restart: bool, environment: dict, limit: float | None):
        self.name, self.command, self.restart, self.environment, self.limit = name, command, restart, environment, limit
        self.process, self.prepare_seconds, self.peak_rss = None, None, 0.0

    def answer(self, key: str) -> float:
        late = threading.Event()
        process = self.process
        timer = threading.Timer(self.limit or threading.TIMEOUT_MAX, lambda: (late.set(), process.kill()))
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout:
                try:
                    message = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a library's own chatter
                if isinstance(message, dict) and key in message:
                    return message[key]
        finally:
            timer.cancel()
        if late.is_set():
            raise TooSlow(f"{self.name} was not {'ready' if key == 'ready' else 'done'} after {self.limit:g} seconds and is left out")
        raise ContestantError(f"{self.name} ended with status {self.process.wait()} before it answered: {shlex.join(self.command)}")

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=self.environment)
        self.prepare_seconds = self.answer("ready")
        self.process.send_signal(signal.SIGSTOP)

    def turn(self, runs: int) -> list[float]:
        if self.process is None:
            self.start()
        self.process.send_signal(signal.SIGCONT)
        seconds = []
        for _ in range(runs):
            self.process.stdin.write("run\n")
            seconds.append(self.answer("seconds"))
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.peak_rss = max(self.peak_rss, int(status.split("VmHWM:")[1].split()[0]) / 1e6)
        if self.restart:
            self.stop()
        else:
            self.process.send_signal(signal.SIGSTOP)
        return seconds

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)  # which is nothing to one that ended
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class OneShot:
    """A contestant that is a command: started each turn, it times its runs itself."""

    def __init__(self, name: str, command: list[str], environment: dict):
        self.name, self.command, self.environment = name, command, environment
        self.prepare_seconds, self.peak_rss = None, 0.0

    def start(self) -> None:
        pass

    def turn(self, runs: int) -> list[float]:
        start = time.perf_counter()
        process = subprocess.Popen(self.command + ["--runs", str(runs), "--json"], stdout=subprocess.PIPE, text=True, env=self.environment)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 or not output.strip():
            raise ContestantError(f"{self.name} ended with status {process.returncode}: {shlex.join(self.command)}")
        seconds = json.loads(output.strip().splitlines()[-1])["seconds"]
        self.peak_rss = max(self.peak_rss, usage.ru_maxrss / 1e6)
        self.prepare_seconds = wall - sum(seconds)
        return seconds

    def stop(self) -> None:
        pass


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    flags = [f for f in wanted if f in fields.get("flags", "").split()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.node()}: {fields.get('model name', platform.machine())}, {os.cpu_count()} CPUs, {memory:.0f} GiB; {' '.join(flags)}"


def make_checkpoint(args, part: str, config: dict, around: str, folder: Path) -> Path:
    """A checkpoint of which one part alone has weights: all that bench-component reads."""
    configs, out = folder / "configs", folder / args.component
    (configs / part).mkdir(parents=True)
    (configs / part / "config.json").write_text(json.dumps(config))
    shutil.copy(ROOT / "assets" / "configs" / around / "model_index.json", configs)
    tokenizers = ROOT / "assets" / "emoji-flux"
    subprocess.run([*shlex.split(args.vivace), "make-random", configs, out, "--dtype", args.dtype, "--tokenizers", tokenizers, "--quiet"], check=True)
    shutil.copytree(ROOT / "assets" / "configs" / around, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(part, "tokenizer*"))
    return out


def vivace_contestants(args, options: list[str], environment: dict, folder: Path) -> list:
    part, config, around = part_of(args.component, args.tiny)
    frames = ["--num-frames", str(args.num_frames)] if args.num_frames else []
    command = [*shlex.split(args.vivace), "bench-component", "vae.decode" if part == "vae" else part, *frames, *options]
    entries, made = [], None
    for given in args.vivace_options or [""]:
        name, text = re.fullmatch(r"(?:([\w+-]+)=)?(.*)", given, re.DOTALL).groups()
        words = shlex.split(text)
        if not any(word.split("=")[0] == "--model" for word in words):
            made = made or make_checkpoint(args, part, config, around, folder)
            words += ["--model", str(made)]
        entries.append(OneShot(f"vivace {name}" if name else "vivace", [*command, *words], environment))
    return entries


def contestants(args, folder: Path) -> list:
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "PYTHONWARNINGS": "ignore"}
    options = ["--dtype", args.dtype, "--height", str(args.height), "--width", str(args.width)]
    options += ["--batch", str(args.batch), "--threads", str(args.threads)]
    count = len(args.peers) + len(args.vivace_worker) + (max(1, len(args.vivace_options)) if args.vivace else 0)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    # A frozen or converted model holds packed copies beside the originals for a while: reckon with twice the weights.
    restart = args.restart or (not args.tiny and count * 2 * PARAMETERS[args.component] * BYTES[args.dtype] > 0.8 * available)
    if restart and not args.restart:
        print("the models together would not fit into memory: each contestant is started anew for each turn")
    pythons = dict(given.split("=", 1) for given in args.peer_python)
    script = [os.path.abspath(__file__), args.component, *options, "--num-frames", str(args.num_frames), "--warm-ups", str(args.warm_ups)]
    script += ["--tiny"] if args.tiny else []
    entries = [Worker(peer, [pythons.get(peer, sys.executable), *script, "--worker", peer], restart, environment, args.limit) for peer in args.peers]
    if args.vivace:
        entries += vivace_contestants(args, options, environment, folder)
    for i, given in enumerate(args.vivace_worker):
        name, command = re.fullmatch(r"(?:([\w+-]+)=)?(.*)", given, re.DOTALL).groups()
        entries.append(Worker(name or (f"vivace {i + 1}" if i else "vivace"), shlex.split(command), restart, environment, args.limit))
    return entries


def report(args, entries: list, times: dict[str, list[list[float]]]) -> dict:
    """Prints the table; a ratio is the median over the rounds of (this contestant's best of the round / the first one's best of the round)."""
    first = [min(r) for r in times[entries[0].name]]
    rows = []
    for entry in entries:
        best = [min(r) for r in times[entry.name]]
        rows.append(
            {
                "contestant": entry.name,
                "min_seconds": min(best),
                "median_seconds": statistics.median(sum(times[entry.name], [])),
                "spread": max(best) / min(best) - 1,
                "ratio": statistics.median(b / f for b, f in zip(best, first)),
                "prepare_seconds": entry.prepare_seconds,
                "peak_rss_gb": entry.peak_rss,
                "seconds": times[entry.name],
            }
        )
    print(f"{'contestant':16} {'min s':>9} {'median s':>9} {'spread':>7} {'/ ' + entries[0].name:>14} {'prepare s':>10} {'peak RSS GB':>12}")
    for row in rows:
        print(
            f"{row['contestant']:16} {row['min_seconds']:9.4f} {row['median_seconds']:9.4f} {row['spread']:7.1%} {row['ratio']:14.3f} "
            f"{row['prepare_seconds']:10.1f} {row['peak_rss_gb']:12.2f}"
        )
    keys = ("component", "dtype", "height", "width", "num_frames", "batch", "threads", "tiny")
    return {"machine": machine(), **{k: getattr(args, k) for k in keys}, "results": rows}


def within_limit(entries: list, entry, action) -> None:
    """Does it; a contestant that takes too long is one no more."""
    try:
        action()
    except TooSlow as error:
        print(error, flush=True)
        entry.stop()
        entries.remove(entry)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("component", choices=list(PARAMETERS))
    parser.add_argument("--dtype", choices=list(TORCH_DTYPES), default="bf16")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--num-frames", type=int, default=0, help="of a video; default: 49, of the decoder 9, which is one batch of frames")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="begin no round that would end later than this, if it took as long as the one before")
    parser.add_argument("--runs", type=int, default=1, help="timed runs in each turn")
    parser.add_argument("--warm-ups", type=int, default=2, help="runs of a peer before it is ready")
    parser.add_argument("--limit", metavar="SECONDS", type=float, help="leave a peer out that takes longer to be ready or for one run")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=["eager"])
    parser.add_argument("--peer-python", metavar="PEER=PYTHON", action="append", default=[], help="the Python that a peer runs in")
    parser.add_argument("--vivace", metavar="PROGRAM")
    parser.add_argument("--vivace-options", metavar="[NAME=]OPTIONS", action="append", default=[])
    parser.add_argument("--vivace-worker", metavar="[NAME=]CMD", action="append", default=[])
    parser.add_argument("--restart", action="store_true", help="start each contestant anew for each turn")
    parser.add_argument("--json", metavar="FILE", help="also write every figure to FILE")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if any(given.partition("=")[0] not in PEERS or not given.partition("=")[2] for given in args.peer_python):
        parser.error(f"--peer-python: expected PEER=PYTHON, as zentorch=venv/bin/python, of {', '.join(PEERS)}")
    videos = {"cogvideox-slice": 49, "cogvideox-transformer": 49, "cogvideox-vae-decode": 9}
    if args.num_frames and args.component not in videos:
        parser.error(f"--num-frames is for videos: {', '.join(videos)}")
    args.num_frames = args.num_frames or videos.get(args.component, 0)
    if args.component == "cogvideox-vae-decode" and args.num_frames not in (1, 5, 9):
        parser.error("--num-frames of the decoder is 1, 5 or 9: more frames are decoded in several batches")
    if args.worker:
        worker(args)
        return 0

    scratch = tempfile.TemporaryDirectory(prefix="vivace-compare-")
    entries = contestants(args, Path(scratch.name))
    if not entries:
        parser.error("no contestants: name some --peers, --vivace or --vivace-worker")
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        parser.error(f"two contestants are called {', '.join(twice)}: name those of --vivace-options and --vivace-worker otherwise (NAME=..)")
    print(machine())
    frames = f"x{args.num_frames}" if args.num_frames else ""
    print(f"{args.component} {args.dtype} {args.height}x{args.width}{frames} batch {args.batch}, {args.threads} threads, {args.rounds} rounds of {args.runs}")
    times = {entry.name: [] for entry in entries}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped worker is left behind
    try:
        for entry in list(entries):
            if not getattr(entry, "restart", True):
                within_limit(entries, entry, entry.start)
        begin = time.monotonic()
        for i in range(args.rounds):
            round_begin = time.monotonic()
            shift = i % len(entries) if entries else 0
            for entry in entries[shift:] + entries[:shift]:
                within_limit(entries, entry, lambda entry=entry: times[entry.name].append(entry.turn(args.runs)))
            print(f"round {i + 1}: " + ", ".join(f"{e.name} {min(times[e.name][-1]):.4f}" for e in entries), flush=True)
            end = time.monotonic()
            if args.seconds and end - begin + end - round_begin > args.seconds:
                break
    except ContestantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for entry in entries:
            entry.stop()
        scratch.cleanup()
    if not entries:
        return 1
    figures = report(args, entries, times)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
