"""The blocks that modules.py runs, each on its own.

Inputs and outputs carry Diffusers' argument names. `config` holds the constructor's arguments, `prefix` is where the block's weights would sit in a
checkpoint. All feature maps are [N, C, H, W], token sequences [N, tokens, channels], temb [N, temb_channels].

| class | inputs | outputs |
|---|---|---|
| Timesteps | timesteps | sample |
| TimestepEmbedding | sample | sample |
| ResnetBlock2D, UNetMidBlock2D | input_tensor / hidden_states, temb? | hidden_states |
| Upsample2D, Downsample2D | hidden_states, upsample_size? | hidden_states |
| Attention, BasicTransformerBlock, Transformer2DModel, UNetMidBlock2DCrossAttn | hidden_states, temb?, encoder_hidden_states? | hidden_states |
| FeedForward | hidden_states | hidden_states |
| DownBlock2D, CrossAttnDownBlock2D | hidden_states, temb, encoder_hidden_states? | hidden_states, res_samples.0 ... |
| UpBlock2D, CrossAttnUpBlock2D | hidden_states, res_hidden_states_tuple.0 ..., temb, encoder_hidden_states?, upsample_size? | hidden_states |
| DownEncoderBlock2D, UpDecoderBlock2D | hidden_states | hidden_states |

Up blocks take the last of res_hidden_states_tuple first, as in Diffusers.
"""

from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets import unet_2d_blocks as blocks
from diffusers.models.upsampling import Upsample2D

from golden_file import make_input, randn_input
from weights import fill

TEMB = 32


def _case(name, cls, config, prefix, shapes, call, fixed=None):
    """Builds, fills and runs one block. shapes: input name -> shape of random values; fixed: further inputs given by value."""
    module = fill(cls(**config), prefix=prefix)
    inputs = {key: randn_input(name, key, shape) for key, shape in shapes.items()}
    inputs.update(fixed or {})
    outputs = call(module, {key: make_input(spec) for key, spec in inputs.items()})
    outputs = outputs if isinstance(outputs, dict) else {"hidden_states": outputs}
    case = {"name": name, "kind": "block", "class": cls.__name__, "config": config, "prefix": prefix, "seed": 0, "inputs": inputs}
    return case, outputs


def _size(made):
    return made["upsample_size"].tolist() if "upsample_size" in made else None


def embedding_cases():
    timesteps = {"timesteps": {"shape": [4], "values": [0, 1, 500.5, 999]}}
    for name, flip, shift in (("timesteps", True, 0), ("timesteps_no_flip_shift", False, 1)):
        config = {"num_channels": 10, "flip_sin_to_cos": flip, "downscale_freq_shift": shift}
        yield _case(name, Timesteps, config, "", {}, lambda m, i: {"sample": m(i["timesteps"])}, timesteps)
    config = {"in_channels": 16, "time_embed_dim": TEMB, "act_fn": "silu"}
    yield _case("timestep_embedding", TimestepEmbedding, config, "time_embedding.", {"sample": (2, 16)}, lambda m, i: {"sample": m(i["sample"])})


def resnet_cases():
    base = {"in_channels": 32, "out_channels": 32, "temb_channels": TEMB, "groups": 8, "eps": 1e-5}
    for name, changes in (
        ("resnet", {}),
        ("resnet_shortcut", {"in_channels": 48, "groups": 16}),
        ("resnet_no_temb", {"temb_channels": None, "eps": 1e-6}),
        ("resnet_scale_shift", {"time_embedding_norm": "scale_shift"}),
        ("resnet_output_scale", {"output_scale_factor": 1.4142, "non_linearity": "gelu"}),
    ):
        config = {**base, **changes}
        shapes = {"input_tensor": (2, config["in_channels"], 6, 5)}
        if config["temb_channels"]:
            shapes["temb"] = (2, TEMB)
        yield _case(name, ResnetBlock2D, config, "down_blocks.0.resnets.0.", shapes, lambda m, i: m(i["input_tensor"], i.get("temb")))
    sampling = {"channels": 32, "use_conv": True, "out_channels": 32}
    shapes = {"hidden_states": (1, 32, 7, 6)}
    down = "down_blocks.0.downsamplers.0."
    config = {**sampling, "padding": 1, "name": "op"}
    yield _case("downsample", Downsample2D, config, down, shapes, lambda m, i: m(i["hidden_states"]))
    config = {**sampling, "padding": 0, "name": "op"}
    yield _case("downsample_asymmetric_padding", Downsample2D, config, down, shapes, lambda m, i: m(i["hidden_states"]))
    up = "up_blocks.0.upsamplers.0."
    yield _case("upsample", Upsample2D, sampling, up, shapes, lambda m, i: m(i["hidden_states"]))
    odd = {"upsample_size": {"shape": [2], "dtype": "int64", "values": [13, 11]}}
    yield _case("upsample_size", Upsample2D, sampling, up, shapes, lambda m, i: m(i["hidden_states"], _size(i)), odd)


def attention_cases():
    prefix = "mid_block.attentions.0.transformer_blocks.0."
    for head, heads in ((8, 4), (16, 2), (40, 1), (64, 2)):
        config = {"query_dim": head * heads, "heads": heads, "dim_head": head, "bias": False}
        shapes = {"hidden_states": (2, 15, head * heads)}
        yield _case(f"attention_self_{heads}x{head}", Attention, config, prefix + "attn1.", shapes, lambda m, i: m(i["hidden_states"]))
    config = {"query_dim": 64, "cross_attention_dim": 48, "heads": 1, "dim_head": 64, "bias": False}
    shapes = {"hidden_states": (2, 15, 64), "encoder_hidden_states": (2, 77, 48)}
    yield _case("attention_cross", Attention, config, prefix + "attn2.", shapes, lambda m, i: m(i["hidden_states"], i["encoder_hidden_states"]))
    config = {"dim": 32, "activation_fn": "geglu"}
    yield _case("feed_forward_geglu", FeedForward, config, prefix + "ff.", {"hidden_states": (2, 9, 32)}, lambda m, i: m(i["hidden_states"]))
    config = {"dim": 64, "num_attention_heads": 4, "attention_head_dim": 16, "cross_attention_dim": 48}
    shapes = {"hidden_states": (2, 15, 64), "encoder_hidden_states": (2, 7, 48)}
    call = lambda m, i: m(i["hidden_states"], encoder_hidden_states=i["encoder_hidden_states"])
    yield _case("basic_transformer_block", BasicTransformerBlock, config, prefix, shapes, call)
    for name, linear, layers in (("transformer_linear", True, 2), ("transformer_conv", False, 1)):
        config = {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 32,
            "num_layers": layers,
            "cross_attention_dim": 48,
            "norm_num_groups": 8,
            "use_linear_projection": linear,
        }
        shapes = {"hidden_states": (2, 32, 5, 6), "encoder_hidden_states": (2, 7, 48)}
        call = lambda m, i: m(i["hidden_states"], encoder_hidden_states=i["encoder_hidden_states"]).sample
        yield _case(name, Transformer2DModel, config, "mid_block.attentions.0.", shapes, call)


def _down(module, made, **kwargs):
    hidden_states, res_samples = module(made["hidden_states"], made["temb"], **kwargs)
    return {"hidden_states": hidden_states, **{f"res_samples.{k}": r for k, r in enumerate(res_samples)}}


def unet_block_cases():
    common = {"temb_channels": TEMB, "resnet_groups": 8, "resnet_eps": 1e-5}
    cross = {"num_attention_heads": 2, "cross_attention_dim": 48, "use_linear_projection": True}
    text = {"encoder_hidden_states": (2, 7, 48)}
    with_text = lambda i: {"encoder_hidden_states": i["encoder_hidden_states"]}
    shapes = {"hidden_states": (2, 32, 7, 6), "temb": (2, TEMB)}
    config = {**common, "in_channels": 32, "out_channels": 64, "num_layers": 2}
    yield _case("down_block", blocks.DownBlock2D, config, "down_blocks.0.", shapes, _down)
    yield _case("down_block_last", blocks.DownBlock2D, {**config, "add_downsample": False}, "down_blocks.3.", shapes, _down)
    config = {**config, **cross, "transformer_layers_per_block": [1, 2]}
    call = lambda m, i: _down(m, i, **with_text(i))
    yield _case("cross_attn_down_block", blocks.CrossAttnDownBlock2D, config, "down_blocks.1.", {**shapes, **text}, call)
    config = {**common, **cross, "in_channels": 32, "transformer_layers_per_block": 2}
    call = lambda m, i: m(i["hidden_states"], i["temb"], **with_text(i))
    yield _case("mid_block_cross_attn", blocks.UNetMidBlock2DCrossAttn, config, "mid_block.", {**shapes, **text}, call)

    shapes = {
        "hidden_states": (2, 64, 3, 4),
        "res_hidden_states_tuple.0": (2, 16, 3, 4),
        "res_hidden_states_tuple.1": (2, 32, 3, 4),
        "temb": (2, TEMB),
    }
    skips = lambda i: (i["res_hidden_states_tuple.0"], i["res_hidden_states_tuple.1"])
    config = {**common, "in_channels": 16, "out_channels": 32, "prev_output_channel": 64, "num_layers": 2}
    call = lambda m, i: m(i["hidden_states"], skips(i), i["temb"], _size(i))
    yield _case("up_block", blocks.UpBlock2D, config, "up_blocks.0.", shapes, call)
    yield _case("up_block_last", blocks.UpBlock2D, {**config, "add_upsample": False}, "up_blocks.2.", shapes, call)
    odd = {"upsample_size": {"shape": [2], "dtype": "int64", "values": [5, 7]}}
    yield _case("up_block_upsample_size", blocks.UpBlock2D, config, "up_blocks.0.", shapes, call, odd)
    config = {**config, **cross, "use_linear_projection": False}
    call = lambda m, i: m(i["hidden_states"], skips(i), i["temb"], **with_text(i))
    yield _case("cross_attn_up_block", blocks.CrossAttnUpBlock2D, config, "up_blocks.1.", {**shapes, **text}, call)


def vae_block_cases():
    shapes = {"hidden_states": (1, 32, 5, 6)}
    call = lambda m, i: m(i["hidden_states"])
    common = {"in_channels": 32, "resnet_groups": 8, "resnet_eps": 1e-6}
    config = {**common, "temb_channels": None, "attention_head_dim": 32, "num_layers": 1}
    yield _case("vae_mid_block", blocks.UNetMidBlock2D, config, "decoder.mid_block.", shapes, call)
    config = {**common, "out_channels": 16, "num_layers": 2}
    yield _case("up_decoder_block", blocks.UpDecoderBlock2D, config, "decoder.up_blocks.0.", shapes, call)
    yield _case("down_encoder_block", blocks.DownEncoderBlock2D, {**config, "downsample_padding": 0}, "encoder.down_blocks.0.", shapes, call)


def block_cases():
    for cases in (embedding_cases, resnet_cases, attention_cases, unet_block_cases, vae_block_cases):
        yield from cases()
