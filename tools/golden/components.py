"""The whole components that modules.py runs: tiny configurations that together meet every config field the engine supports."""

from golden_file import make_input, randn_input
from weights import component, fill

CROSS_DOWN, DOWN, CROSS_UP, UP = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"

SDXL = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64, 128],
    "layers_per_block": 2,
    "down_block_types": [DOWN, CROSS_DOWN, CROSS_DOWN],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": [CROSS_UP, CROSS_UP, UP],
    "attention_head_dim": [2, 4, 8],
    "transformer_layers_per_block": [1, 2, 3],
    "cross_attention_dim": 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "center_input_sample": False,
    "mid_block_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "upcast_attention": False,
    "time_cond_proj_dim": None,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}

# Sparse on purpose: the published Stable Diffusion 1.x configs name only these fields.
SD1 = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [32, 64, 64, 64],
    "center_input_sample": False,
    "cross_attention_dim": 40,
    "down_block_types": [CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "up_block_types": [UP, CROSS_UP, CROSS_UP, CROSS_UP],
}

REFINER = {
    **SDXL,
    "block_out_channels": [32, 64, 64, 64],
    "down_block_types": [DOWN, CROSS_DOWN, CROSS_DOWN, DOWN],
    "up_block_types": [UP, CROSS_UP, CROSS_UP, UP],
    "attention_head_dim": [4, 4, 1, 1],
    "transformer_layers_per_block": 2,
    "cross_attention_dim": 32,
    "projection_class_embeddings_input_dim": 40 + 5 * 8,
}

TWO_LEVELS = {
    **SDXL,
    "block_out_channels": [32, 64],
    "down_block_types": [DOWN, CROSS_DOWN],
    "up_block_types": [CROSS_UP, UP],
    "attention_head_dim": [1, 1],
    "transformer_layers_per_block": [1, 2],
    "layers_per_block": 1,
    "norm_num_groups": 8,
}

# name, config, sample shape, text length, timestep (a number, or one an image)
UNETS = [
    ("unet_sdxl", SDXL, (2, 4, 16, 16), 77, 500),
    ("unet_sdxl_batch1_24x20", SDXL, (1, 4, 24, 20), 77, 1),
    ("unet_sdxl_odd_17x13", SDXL, (2, 4, 17, 13), 9, 981.25),
    ("unet_refiner", REFINER, (2, 4, 16, 16), 12, 250),
    ("unet_refiner_odd_19x21", REFINER, (1, 4, 19, 21), 12, 7),
    ("unet_sd1", SD1, (2, 4, 16, 16), 77, 999),
    ("unet_sd1_odd_13x18", SD1, (1, 4, 13, 18), 6, 0),
    ("unet_sd2_linear", {**SD1, "attention_head_dim": [2, 4, 4, 4], "use_linear_projection": True, "upcast_attention": True}, (1, 4, 16, 16), 8, 3),
    ("unet_two_levels_head64", TWO_LEVELS, (1, 4, 14, 10), 8, [501.5]),
    ("unet_head40", {**TWO_LEVELS, "block_out_channels": [40, 80], "attention_head_dim": 2}, (1, 4, 8, 8), 8, 42),
    ("unet_timestep_per_image", TWO_LEVELS, (2, 4, 8, 8), 8, [900, 20]),
    ("unet_inpaint_9_channels", {**TWO_LEVELS, "in_channels": 9}, (1, 9, 8, 8), 8, 640),
    (
        "unet_nested_transformer_layers_no_mid",
        {
            **SDXL,
            "block_out_channels": [32, 32, 64],
            "attention_head_dim": [2, 2, 4],
            "transformer_layers_per_block": [0, [2, 1], [1, 3]],
            "reverse_transformer_layers_per_block": [[3, 1, 2], [2, 1, 1], 1],
            "mid_block_type": None,
        },
        (1, 4, 8, 12),
        8,
        77,
    ),
    (
        "unet_nested_transformer_layers",
        {
            **SDXL,
            "block_out_channels": [30, 32, 64],
            "norm_num_groups": 2,
            "attention_head_dim": [4, 2, 4],
            "transformer_layers_per_block": [1, [2, 1], [1, 3]],
            "reverse_transformer_layers_per_block": [[3, 1, 2], [2, 1, 1], 1],
            "resnet_out_scale_factor": 2.0,
        },
        (1, 4, 8, 12),
        8,
        77,
    ),
    (
        "unet_other_fields",
        {
            **TWO_LEVELS,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
            "act_fn": "gelu",
            "mid_block_scale_factor": 1.4142,
            "layers_per_block": [1, 2],
            "cross_attention_dim": [24, 48],
            "center_input_sample": True,
            "time_cond_proj_dim": 16,
            "downsample_padding": 0,
        },
        (1, 4, 9, 8),
        5,
        333,
    ),
    ("unet_scale_shift", {**TWO_LEVELS, "resnet_time_scale_shift": "scale_shift", "time_embedding_dim": 64}, (1, 4, 8, 8), 5, 50),
    ("unet_mid_without_attention", {**TWO_LEVELS, "mid_block_type": "UNetMidBlock2D"}, (1, 4, 8, 8), 5, 50),
    ("unet_only_cross_attention", {**TWO_LEVELS, "only_cross_attention": True}, (1, 4, 8, 8), 5, 50),
]


def unet_cases():
    for name, config, shape, length, timestep in UNETS:
        model = fill(component("unet", config))
        cross = config["cross_attention_dim"]
        if isinstance(cross, list):
            cross = cross[-1]  # level 0 has no cross-attention in these cases
        batch = shape[0]
        steps = timestep if isinstance(timestep, list) else [timestep]
        inputs = {
            "sample": randn_input(name, "sample", shape),
            "timestep": {"shape": [len(steps)], "values": steps},
            "encoder_hidden_states": randn_input(name, "encoder_hidden_states", (batch, length, cross)),
        }
        if config.get("addition_embed_type") == "text_time":
            ids = 5 if config is REFINER else 6
            pooled = config["projection_class_embeddings_input_dim"] - ids * config["addition_time_embed_dim"]
            inputs["text_embeds"] = randn_input(name, "text_embeds", (batch, pooled))
            times = [[128, 96, 0, 16, 128, 96], [64, 64, 8, 0, 80, 72]] if ids == 6 else [[128, 96, 0, 16, 6], [64, 64, 8, 0, 2.5]]
            inputs["time_ids"] = {"shape": [batch, ids], "values": sum(times[:batch], [])}
        if config.get("time_cond_proj_dim"):
            inputs["timestep_cond"] = randn_input(name, "timestep_cond", (batch, config["time_cond_proj_dim"]))
        made = {k: make_input(v) for k, v in inputs.items()}
        added = {k: made[k] for k in ("text_embeds", "time_ids") if k in made} or None
        sample = model(
            made["sample"],
            made["timestep"] if len(steps) > 1 else made["timestep"][0],
            made["encoder_hidden_states"],
            timestep_cond=made.get("timestep_cond"),
            added_cond_kwargs=added,
        ).sample
        case = {"name": name, "kind": "unet", "class": "UNet2DConditionModel", "config": config, "prefix": "", "seed": 0, "inputs": inputs}
        yield case, {"sample": sample}


def text_config(architecture: str, **fields) -> dict:
    return {
        "architectures": [architecture],
        "model_type": "clip_text_model",
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": 48,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        **fields,
    }


# name, config, token ids. With eos_token_id 2 pooling is at the largest id (99 here); otherwise at the first eos_token_id.
TEXTS = [
    ("text_clip_l", text_config("CLIPTextModel"), [[98, 5, 40, 17] + [99] * 73, [98, 7] + [99] * 75]),
    (
        "text_clip_g",
        text_config("CLIPTextModelWithProjection", hidden_act="gelu", num_hidden_layers=4, hidden_size=80, num_attention_heads=2),
        [[98, 5, 40, 17, 99] + [0] * 72, [98, 99] + [0] * 75],
    ),
    ("text_eos_id", text_config("CLIPTextModel", eos_token_id=49, bos_token_id=48), [[48, 99, 3, 49, 49, 60] + [49] * 71]),
    (
        "text_projection_eos_id_short",
        text_config("CLIPTextModelWithProjection", eos_token_id=49, num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=16),
        [[48, 99, 3, 60, 49, 0, 0, 49, 0], [48, 49, 0, 0, 0, 0, 0, 0, 0]],
    ),
    ("text_gelu_eps", text_config("CLIPTextModel", hidden_act="gelu", layer_norm_eps=1e-3, num_attention_heads=8), [[98, 1, 2, 3, 99, 99, 99]]),
]


def text_cases():
    for name, config, ids in TEXTS:
        model = fill(component("text_encoder", config))
        inputs = {"input_ids": {"shape": [len(ids), len(ids[0])], "dtype": "int64", "values": sum(ids, [])}}
        result = model(make_input(inputs["input_ids"]), output_hidden_states=True)
        outputs = {f"hidden_states.{i}": h for i, h in enumerate(result.hidden_states)}
        outputs["last_hidden_state"] = result.last_hidden_state
        key = "text_embeds" if "text_embeds" in result else "pooler_output"
        outputs[key] = result[key]
        case = {"name": name, "kind": "text_encoder", "class": config["architectures"][0], "config": config}
        yield {**case, "prefix": "", "seed": 0, "inputs": inputs}, outputs


def vae_config(**fields) -> dict:
    channels = fields.get("block_out_channels", [32, 64])
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "block_out_channels": channels,
        "layers_per_block": 1,
        "act_fn": "silu",
        "latent_channels": 4,
        "norm_num_groups": 32,
        "sample_size": 32,
        "scaling_factor": 0.13025,
        "force_upcast": True,
        **fields,
    }


FOUR_LEVELS = vae_config(block_out_channels=[16, 32, 32, 64], layers_per_block=2, norm_num_groups=8)
NO_QUANT = vae_config(use_quant_conv=False, use_post_quant_conv=False, latent_channels=16, shift_factor=0.1159, scaling_factor=0.3611)

# name, config, shape of the latents to decode, shape of the image to encode
VAES = [
    ("vae_four_levels", FOUR_LEVELS, (2, 4, 6, 6), (2, 3, 48, 40)),
    ("vae_odd", vae_config(block_out_channels=[32, 32, 64], layers_per_block=2), (1, 4, 7, 5), (1, 3, 37, 29)),
    ("vae_no_quant_convs", NO_QUANT, (1, 16, 8, 6), (1, 3, 16, 24)),
    ("vae_no_mid_attention", vae_config(mid_block_add_attention=False), (1, 4, 8, 8), (1, 3, 17, 16)),
    ("vae_gelu", vae_config(act_fn="gelu"), (1, 4, 5, 4), (1, 3, 12, 16)),
    ("vae_one_level", vae_config(block_out_channels=[32]), (1, 4, 8, 8), (1, 3, 8, 8)),
]


def vae_cases():
    for name, config, latent_shape, image_shape in VAES:
        model = fill(component("vae", config))
        case = {"class": "AutoencoderKL", "config": config, "prefix": "", "seed": 0}
        inputs = {"latents": randn_input(name, "latents", latent_shape, scale=3.0)}
        decoded = model.decode(make_input(inputs["latents"])).sample
        yield {"name": name + "_decode", "kind": "vae_decode", **case, "inputs": inputs}, {"sample": decoded}
        inputs = {"sample": randn_input(name, "sample", image_shape, scale=0.5)}
        posterior = model.encode(make_input(inputs["sample"])).latent_dist
        yield {"name": name + "_encode", "kind": "vae_encode", **case, "inputs": inputs}, {"mean": posterior.mean, "logvar": posterior.logvar}


def tiny_config(**fields) -> dict:
    return {
        "_class_name": "AutoencoderTiny",
        "in_channels": 3,
        "out_channels": 3,
        "encoder_block_out_channels": [16, 16, 16],
        "decoder_block_out_channels": [16, 16, 16],
        "act_fn": "relu",
        "latent_channels": 4,
        "upsampling_scaling_factor": 2,
        "num_encoder_blocks": [1, 2, 2],
        "num_decoder_blocks": [2, 2, 1],
        "scaling_factor": 1.0,
        **fields,
    }


# name, config, shape of the latents to decode, shape of the image to encode
TINIES = [
    ("tiny_vae", tiny_config(), (2, 4, 6, 5), (2, 3, 24, 20)),
    ("tiny_vae_gelu_odd", tiny_config(act_fn="gelu", latent_channels=16, num_decoder_blocks=[1, 0, 2]), (1, 16, 7, 5), (1, 3, 29, 21)),
]


def tiny_cases():
    for name, config, latent_shape, image_shape in TINIES:
        model = fill(component("vae", config))
        case = {"class": "AutoencoderTiny", "config": config, "prefix": "", "seed": 0}
        inputs = {"latents": randn_input(name, "latents", latent_shape, scale=3.0)}
        yield {"name": name + "_decode", "kind": "vae_decode", **case, "inputs": inputs}, {"sample": model.decode(make_input(inputs["latents"])).sample}
        inputs = {"sample": randn_input(name, "sample", image_shape, scale=0.5)}
        yield {"name": name + "_encode", "kind": "vae_encode", **case, "inputs": inputs}, {"latents": model.encode(make_input(inputs["sample"])).latents}
