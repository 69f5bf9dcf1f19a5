"""The transformer denoisers and T5 encoders that modules.py runs: tiny configurations that together meet every config field the engine supports."""

from types import SimpleNamespace

import torch

from golden_file import make_input, randn_input
from weights import component, fill


def t5_config(model_type: str = "t5", **fields) -> dict:
    return {
        "architectures": ["T5EncoderModel" if model_type == "t5" else "UMT5EncoderModel"],
        "model_type": model_type,
        "vocab_size": 64,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        **fields,
    }


# The distances 8, 12, 16, 23, 32, 46, 64 and 91 begin a bucket of the position bias; some lie exactly on the edge.
LONG = [(5 * i * i + 3 * i) % 64 for i in range(150)]

# name, config, token ids, attention mask
T5S = [
    ("t5_gated", t5_config(), [[5, 9, 23, 41, 1, 0, 0, 0], [7, 1, 0, 0, 0, 0, 0, 0]], None),
    ("t5_long", t5_config(num_layers=3, num_heads=2), [LONG], None),
    ("t5_relu", t5_config(feed_forward_proj="relu", layer_norm_epsilon=1e-3), [[5, 9, 23, 41, 1]], None),
    ("t5_buckets", t5_config(relative_attention_num_buckets=16, relative_attention_max_distance=20, feed_forward_proj="gated-silu"), [LONG[:40]], None),
    ("umt5_mask", t5_config("umt5"), [[5, 9, 23, 41, 1, 0, 0, 0], [7, 1, 0, 0, 0, 0, 0, 0]], [[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]),
    ("umt5_long", t5_config("umt5", d_ff=48), [LONG], [[1] * 100 + [0] * 50]),
]


def t5_cases():
    for name, config, ids, mask in T5S:
        model = fill(component("text_encoder", config))
        inputs = {"input_ids": {"shape": [len(ids), len(ids[0])], "dtype": "int64", "values": sum(ids, [])}}
        if mask:
            inputs["attention_mask"] = {"shape": [len(ids), len(ids[0])], "values": sum(mask, [])}
        made = {k: make_input(v) for k, v in inputs.items()}
        if mask:
            made["attention_mask"] = made["attention_mask"].long()
        case = {"name": name, "kind": "t5_encoder", "class": config["architectures"][0], "config": config, "prefix": "", "seed": 0, "inputs": inputs}
        yield case, {"last_hidden_state": model(**made).last_hidden_state}


def flux_config(**fields) -> dict:
    return {
        "_class_name": "FluxTransformer2DModel",
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 24,
        "guidance_embeds": True,
        "axes_dims_rope": [4, 6, 6],
        **fields,
    }


def grid(height: int, width: int, first: int = 0) -> list:
    return [v for y in range(height) for x in range(width) for v in (first, y, x)]


# name, config, batch, packed height and width, text tokens, height and width of a condition behind them
FLUXES = [
    ("flux_dev", flux_config(num_layers=2), 1, (4, 6), 5, None),
    ("flux_schnell_batch2", flux_config(guidance_embeds=False), 2, (2, 3), 7, None),
    ("flux_double_only", flux_config(num_single_layers=0, out_channels=8), 1, (3, 5), 4, None),
    ("flux_single_only", flux_config(num_layers=0, num_attention_heads=3), 2, (40, 2), 3, None),
    ("flux_kontext", flux_config(axes_dims_rope=[8, 4, 4]), 2, (3, 4), 6, (5, 2)),
]


def flux_cases():
    for name, config, batch, (height, width), tokens, condition in FLUXES:
        model = fill(component("transformer", config))
        extra = condition[0] * condition[1] if condition else 0
        inputs = {
            "hidden_states": randn_input(name, "hidden_states", (batch, height * width, config["in_channels"])),
            "encoder_hidden_states": randn_input(name, "encoder_hidden_states", (batch, tokens, config["joint_attention_dim"])),
            "pooled_projections": randn_input(name, "pooled_projections", (batch, config["pooled_projection_dim"])),
            "timestep": {"shape": [1], "values": [0.75]},
            "img_ids": {"shape": [height * width, 3], "values": grid(height, width)},
            "txt_ids": {"shape": [tokens, 3], "values": [0.0] * (3 * tokens)},
        }
        if config["guidance_embeds"]:
            inputs["guidance"] = {"shape": [batch], "values": [3.5, 2.0][:batch]}
        if condition:
            inputs["image_latents"] = randn_input(name, "image_latents", (batch, extra, config["in_channels"]))
            inputs["image_latents_ids"] = {"shape": [extra, 3], "values": grid(*condition, first=1)}
        made = {k: make_input(v) for k, v in inputs.items()}
        if condition:  # as FluxKontextPipeline does
            made["hidden_states"] = torch.cat([made["hidden_states"], made.pop("image_latents")], dim=1)
            made["img_ids"] = torch.cat([made["img_ids"], made.pop("image_latents_ids")])
        made["timestep"] = made["timestep"].expand(batch)
        sample = model(**made).sample[:, : height * width]
        case = {"name": name, "kind": "flux_transformer_2d", "class": "FluxTransformer2DModel", "config": config, "prefix": "", "seed": 0, "inputs": inputs}
        yield case, {"sample": sample}


def aura_config(**fields) -> dict:
    return {
        "_class_name": "AuraFlowTransformer2DModel",
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_mmdit_layers": 1,
        "num_single_dit_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 64,
        **fields,
    }


# name, config, shape of the latents, text tokens, timestep
AURAS = [
    ("aura_flow", aura_config(), (2, 4, 8, 12), 6, 0.75),
    ("aura_flow_odd_patches", aura_config(num_mmdit_layers=2), (1, 4, 14, 6), 3, 0.904531),
    ("aura_flow_joint_only", aura_config(num_single_dit_layers=0, pos_embed_max_size=81), (1, 4, 10, 8), 5, 0.1),
    ("aura_flow_single_only", aura_config(num_mmdit_layers=0, out_channels=6, in_channels=3), (1, 3, 4, 16), 5, 1.0),
]


def aura_flow_cases():
    for name, config, shape, tokens, timestep in AURAS:
        model = fill(component("transformer", config))
        inputs = {
            "hidden_states": randn_input(name, "hidden_states", shape),
            "encoder_hidden_states": randn_input(name, "encoder_hidden_states", (shape[0], tokens, config["joint_attention_dim"])),
            "timestep": {"shape": [1], "values": [timestep]},
        }
        made = {k: make_input(v) for k, v in inputs.items()}
        made["timestep"] = made["timestep"].expand(shape[0])
        case = {"name": name, "kind": "aura_flow_transformer_2d", "class": "AuraFlowTransformer2DModel", "config": config, "prefix": "", "seed": 0, "inputs": inputs}
        yield case, {"sample": model(**made).sample}


def cogvideox_config(**fields) -> dict:
    return {
        "_class_name": "CogVideoXTransformer3DModel",
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": 32,
        "num_layers": 1,
        "sample_width": 6,
        "sample_height": 4,
        "sample_frames": 9,
        "max_text_seq_length": 8,
        **fields,
    }


ROTARY = {"use_rotary_positional_embeddings": True}
LEARNED = {**ROTARY, "use_learned_positional_embeddings": True, "in_channels": 8}

# name, config, shape of the latents [N, F, C, H, W], text tokens, timestep
COGVIDEOXS = [
    ("cogvideox_2b", cogvideox_config(num_layers=2), (2, 3, 4, 4, 6), 8, 999),
    ("cogvideox_other_size", cogvideox_config(temporal_interpolation_scale=1.5, spatial_interpolation_scale=2.5), (1, 5, 4, 8, 2), 8, 19),
    ("cogvideox_5b", cogvideox_config(**ROTARY, num_layers=2), (2, 3, 4, 4, 6), 5, 499),
    ("cogvideox_5b_tall", cogvideox_config(**ROTARY, sample_width=20, sample_height=12), (1, 2, 4, 14, 8), 7, 19),
    ("cogvideox_5b_wide", cogvideox_config(**ROTARY, sample_width=20, sample_height=12), (1, 4, 4, 6, 22), 3, 979),
    ("cogvideox_learned", cogvideox_config(**LEARNED), (1, 3, 8, 4, 6), 8, 979),
    ("cogvideox_learned_other_frames", cogvideox_config(**LEARNED), (1, 2, 8, 4, 6), 8, 979),
    ("cogvideox_1_5", cogvideox_config(**ROTARY, patch_size_t=2, patch_bias=False, sample_width=8, sample_height=8), (2, 4, 4, 8, 6), 4, 979),
    ("cogvideox_1_5_ofs", cogvideox_config(**ROTARY, patch_size_t=2, ofs_embed_dim=8, in_channels=8, num_layers=2), (1, 2, 8, 4, 4), 6, 59),
    ("cogvideox_bare", cogvideox_config(**ROTARY, norm_elementwise_affine=False, attention_bias=False, patch_bias=False, activation_fn="gelu", flip_sin_to_cos=False,
                                        freq_shift=1, norm_eps=1e-3), (1, 3, 4, 6, 4), 6, 499),
]


def cogvideox_rotary(model, frames: int, height: int, width: int):
    """What CogVideoXPipeline gives the model for latents of this size."""
    from diffusers import CogVideoXPipeline

    if not model.config.use_rotary_positional_embeddings:
        return None
    pipe = SimpleNamespace(vae_scale_factor_spatial=8, transformer=model)
    return CogVideoXPipeline._prepare_rotary_positional_embeddings(pipe, 8 * height, 8 * width, frames, torch.device("cpu"))


def cogvideox_cases():
    for name, config, shape, tokens, timestep in COGVIDEOXS:
        model = fill(component("transformer", config))
        inputs = {
            "hidden_states": randn_input(name, "hidden_states", shape),
            "encoder_hidden_states": randn_input(name, "encoder_hidden_states", (shape[0], tokens, config["text_embed_dim"])),
            "timestep": {"shape": [1], "values": [timestep]},
        }
        made = {k: make_input(v) for k, v in inputs.items()}
        made["timestep"] = made["timestep"].long().expand(shape[0])
        if "ofs_embed_dim" in config:
            inputs["ofs"] = {"shape": [1], "values": [2.0]}
            made["ofs"] = torch.full((1,), 2.0)
        sample = model(**made, image_rotary_emb=cogvideox_rotary(model, shape[1], *shape[3:])).sample
        case = {"name": name, "kind": "cogvideox_transformer_3d", "class": "CogVideoXTransformer3DModel", "config": config, "prefix": "", "seed": 0, "inputs": inputs}
        yield case, {"sample": sample}
