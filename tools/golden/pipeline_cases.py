"""The checkpoints and calls that pipelines.py runs. Everything here is plain data, named as Diffusers names it."""

from components import CROSS_DOWN, CROSS_UP, DOWN, SDXL, SD1, UP, text_config, tiny_config, vae_config
from golden_file import randn_input

EULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}

SDXL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

TEXT = {"vocab_size": 1536, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "projection_dim": 24}
TEXT_2 = {**TEXT, "hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 3, "hidden_act": "gelu"}


def _sdxl(unet: dict, vae: dict) -> dict:
    common = {"cross_attention_dim": 32 + 48, "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24 + 6 * 8}
    return {
        "model_index.json": SDXL_INDEX,
        "scheduler/scheduler_config.json": EULER,
        "text_encoder/config.json": text_config("CLIPTextModel", **TEXT),
        "text_encoder_2/config.json": text_config("CLIPTextModelWithProjection", **TEXT_2),
        "unet/config.json": {**SDXL, **common, **unet},
        "vae/config.json": vae,
    }


CONFIGS = {
    # 8x8 latents for a picture of 32x32
    "sdxl_two_levels": _sdxl(
        {
            "sample_size": 8,
            "block_out_channels": [32, 64],
            "down_block_types": [DOWN, CROSS_DOWN],
            "up_block_types": [CROSS_UP, UP],
            "attention_head_dim": [2, 4],
            "transformer_layers_per_block": [1, 2],
            "layers_per_block": 1,
        },
        vae_config(block_out_channels=[16, 16, 32], norm_num_groups=8, scaling_factor=0.5),
    ),
    # 8x8 latents for a picture of 64x64
    "sdxl_three_levels": _sdxl(
        {"sample_size": 8, "block_out_channels": [32, 32, 64], "attention_head_dim": [2, 2, 1]},
        vae_config(block_out_channels=[16, 16, 16, 32], norm_num_groups=8),
    ),
    "sd1": {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "PNDMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "PNDMScheduler",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": False,
            "num_train_timesteps": 1000,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
            "steps_offset": 1,
        },
        "text_encoder/config.json": text_config("CLIPTextModel", **TEXT),
        "unet/config.json": {**SD1, "sample_size": 8, "cross_attention_dim": 32, "layers_per_block": 1},
        "vae/config.json": vae_config(block_out_channels=[16, 16, 32], norm_num_groups=8, scaling_factor=0.18215),
    },
}


def _case(name: str, checkpoint: str = "configs/sdxl_two_levels", *, scheduler=None, overrides=None, weights_seed=0, **call) -> dict:
    pipeline = "StableDiffusionPipeline" if checkpoint == "configs/sd1" else "StableDiffusionXLPipeline"
    pipeline = (overrides or {}).get("model_index.json", {}).get("_class_name", pipeline)
    case = {"name": name, "pipeline": pipeline, "checkpoint": checkpoint, "weights_seed": weights_seed}
    if overrides:
        case["overrides"] = overrides
    if scheduler:
        case["scheduler"] = scheduler
    seeds = call.pop("generator", 7)
    generator = {"seeds": seeds} if isinstance(seeds, list) else {"seed": seeds}
    call = {"prompt": "a red apple", "num_inference_steps": 3, "guidance_scale": 5.0, "generator": generator, **call}
    case["call"] = {key: value for key, value in call.items() if value is not None}
    return case


def _scheduled(name: str, scheduler: str, fields: dict | None = None, **call) -> dict:
    return _case("scheduler_" + name, scheduler={"_class_name": scheduler, **(fields or {})}, **{"num_inference_steps": 4, **call})


THREE, SD, EMOJI = "configs/sdxl_three_levels", "configs/sd1", "assets/emoji-xl"
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
NO_ZEROS = {"model_index.json": {"force_zeros_for_empty_prompt": False}}
DPM = {"_class_name": "DPMSolverMultistepScheduler"}
OUTDATED_DDIM = {
    "model_index.json": {"scheduler": ["diffusers", "DDIMScheduler"]},
    "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler", "clip_sample": True, "steps_offset": 0},
}
LCM = {
    "model_index.json": {"_class_name": "LatentConsistencyModelPipeline", "scheduler": ["diffusers", "LCMScheduler"]},
    "scheduler/scheduler_config.json": {"_class_name": "LCMScheduler", "original_inference_steps": 50},
    "unet/config.json": {"time_cond_proj_dim": 16},
}
TINY_VAE = {"model_index.json": {"vae": ["diffusers", "AutoencoderTiny"]}, "vae/config.json": tiny_config(scaling_factor=0.5)}
LONG = "a very long prompt about a small red house with a green garden and a blue sky, " * 6

CASES = [
    # prompts and guidance
    _case("square"),
    _case("seed_and_weights", generator=1234567890123, weights_seed=99),
    _case("negative_prompt", negative_prompt="blurry, blue"),
    _case("negative_prompt_empty_string", negative_prompt=""),
    _case("no_guidance", guidance_scale=1.0),
    _case("guidance_below_one", guidance_scale=0.0, negative_prompt="blue"),
    _case("empty_prompt", prompt=""),
    _case("negative_not_zeroed", overrides=NO_ZEROS),
    _case("empty_prompt_not_zeroed", prompt="", overrides=NO_ZEROS),
    _case("long_prompt_truncated", prompt=LONG),
    _case("prompt_2_empty_string", prompt_2="", negative_prompt="blue", negative_prompt_2=""),
    _case("prompt_2", prompt_2="a green pear", negative_prompt="blue", negative_prompt_2="yellow"),
    _case("clip_skip", clip_skip=1, negative_prompt="blue"),
    _case("guidance_rescale", guidance_rescale=0.7),
    # batches and random numbers
    _case("batch", prompt=["a red apple", "rocket", ""], negative_prompt=["blue", "", "a very bad picture"]),
    _case("batch_one_negative", prompt=["a dog", "a cat"], negative_prompt="blue"),
    _case("images_per_prompt", num_images_per_prompt=2),
    _case("batch_images_per_prompt", prompt=["a dog", "a cat"], num_images_per_prompt=2, num_inference_steps=2),
    _case("generator_list", prompt=["a dog", "a cat"], generator=[11, 12]),
    _case("generator_list_ancestral", prompt=["a dog", "a cat"], generator=[11, 12], scheduler={"_class_name": "EulerAncestralDiscreteScheduler"}),
    _case("latents_given", latents=randn_input("latents_given", "latents", (1, 4, 8, 8))),
    _case("output_latent", output_type="latent"),
    # sizes and micro-conditioning
    _case("wide", height=32, width=56),
    _case("tall", height=64, width=40),
    _case("three_levels", THREE),
    _case("three_levels_odd", THREE, height=72, width=56),
    _case("three_levels_batch", THREE, prompt=["sun", "moon"], negative_prompt="cloud", height=64, width=48, num_inference_steps=2),
    _case("micro_conditioning", original_size=[512, 768], crops_coords_top_left=[16, 4], target_size=[64, 48]),
    _case(
        "negative_micro_conditioning",
        original_size=[64, 64],
        target_size=[32, 32],
        negative_original_size=[16, 24],
        negative_crops_coords_top_left=[8, 2],
        negative_target_size=[128, 96],
    ),
    _case(
        "negative_micro_conditioning_images",
        negative_original_size=[16, 24],
        negative_target_size=[128, 96],
        num_images_per_prompt=2,
        num_inference_steps=2,
    ),
    # steps
    _case("one_step", num_inference_steps=1),
    _case("denoising_end_one", denoising_end=1.0),
    _case("denoising_end", denoising_end=0.6, num_inference_steps=5, output_type="latent"),
    _case("timesteps", timesteps=[951, 601, 301, 51]),
    _case("sigmas", sigmas=[12.5, 4.0, 1.25, 0.2]),
    # schedulers and their fields
    _scheduled("euler_karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    _scheduled("euler_exponential", "EulerDiscreteScheduler", {"use_exponential_sigmas": True, "timestep_spacing": "linspace"}),
    _scheduled("euler_v_zero_snr_trailing", "EulerDiscreteScheduler", ZERO_SNR, guidance_rescale=0.7),
    _scheduled("euler_ancestral", "EulerAncestralDiscreteScheduler"),
    _scheduled("ddim", "DDIMScheduler"),
    _scheduled("ddim_eta", "DDIMScheduler", eta=1.0),
    _scheduled("ddim_v_zero_snr_trailing", "DDIMScheduler", ZERO_SNR),
    _scheduled("dpm_2m", "DPMSolverMultistepScheduler"),
    _scheduled("dpm_2m_karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    _scheduled("dpm_2m_sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    _scheduled("unipc", "UniPCMultistepScheduler"),
    _scheduled("pndm", "PNDMScheduler"),
    _scheduled("pndm_runge_kutta", "PNDMScheduler", {"skip_prk_steps": False}),
    _scheduled("heun", "HeunDiscreteScheduler", num_inference_steps=3),
    _scheduled("lcm", "LCMScheduler", guidance_scale=1.0),
    _scheduled("dpm_singlestep", "DPMSolverSinglestepScheduler"),
    _scheduled("dpm_sde", "DPMSolverSDEScheduler", {"noise_sampler_seed": 3}),
    _scheduled("kdpm2_ancestral", "KDPM2AncestralDiscreteScheduler"),
    _scheduled("sa_solver", "SASolverScheduler", prompt=["a dog", "a cat"], generator=[11, 12], num_inference_steps=3),
    # few-step models: Turbo, Lightning, Hyper's one step and more, a LoRA of LCM, Playground v2.5
    _scheduled("turbo", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, num_inference_steps=1, guidance_scale=0.0),
    _scheduled("lightning", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, guidance_scale=0.0),
    _scheduled("hyper_one_step", "TCDScheduler", timesteps=[800], eta=1.0, guidance_scale=0.0, num_inference_steps=None),
    _scheduled("hyper", "TCDScheduler", eta=0.5, guidance_scale=0.0),
    _scheduled("tcd_no_eta", "TCDScheduler", guidance_scale=0.0),
    _scheduled("lcm_lora", "LCMScheduler", guidance_scale=1.5),
    _scheduled("playground", "EDMDPMSolverMultistepScheduler", guidance_scale=3.0),
    _scheduled("edm_euler", "EDMEulerScheduler"),
    # config fields that only a whole pipeline meets
    _case(
        "lcm_guidance_embedding",
        scheduler={"_class_name": "LCMScheduler"},
        overrides={"unet/config.json": {"time_cond_proj_dim": 16}},
        guidance_scale=8.0,
    ),
    _case("latents_mean_std", overrides={"vae/config.json": {"latents_mean": [0.5, -1.0, 0.25, 0.0], "latents_std": [2.0, 1.5, 3.0, 1.0]}}),
    # the class that model_index.json names counts, not the config's
    _case("text_encoder_2_of_a_whole_model", overrides={"text_encoder_2/config.json": {"architectures": ["CLIPTextModel"]}}),
    _case("vae_no_quant_convs", overrides={"vae/config.json": {"use_quant_conv": False, "use_post_quant_conv": False}}),
    # AutoencoderTiny in the VAE's place
    _case("tiny_vae", overrides=TINY_VAE),
    _case("sd1_tiny_vae", SD, overrides=TINY_VAE, height=32, width=40),
    # latent consistency: the class's defaults are 4 steps and a guidance of 8.5
    _case("lcm_defaults", SD, overrides=LCM, num_inference_steps=None, guidance_scale=None),
    _case("lcm_batch", SD, overrides=LCM, prompt=["a dog", "a cat"], num_images_per_prompt=2, num_inference_steps=2, height=32, width=40, clip_skip=1),
    _case("lcm_original_steps", SD, overrides=LCM, original_inference_steps=20, num_inference_steps=3, guidance_scale=1.0),
    _case("lcm_timesteps", SD, overrides=LCM, timesteps=[999, 759, 259], num_inference_steps=None),
    # Stable Diffusion 1.x
    _case("sd1", SD, num_inference_steps=4, guidance_scale=7.5),
    _case("sd1_negative_wide", SD, negative_prompt="blue", height=32, width=56),
    _case("sd1_no_guidance_batch", SD, prompt=["a dog", "a cat"], guidance_scale=1.0, num_images_per_prompt=2, num_inference_steps=2),
    # Not seed 7: its noise is one that rounding alone moves by 1.6e-4, twenty times more than other seeds' noise.
    _case("sd1_clip_skip_ddim", SD, clip_skip=1, generator=8, scheduler={"_class_name": "DDIMScheduler"}),
    # what StableDiffusionPipeline corrects in an outdated scheduler_config.json, and one side of a size, which it does not take
    _case("sd1_outdated_pndm", SD, generator=8, overrides={"scheduler/scheduler_config.json": {"steps_offset": 0}}),
    _case("sd1_outdated_ddim", SD, generator=8, overrides=OUTDATED_DDIM),
    _case("sd1_one_side", SD, generator=8, height=32),
    # the model in the repository
    _case("emoji_red_apple", EMOJI, num_inference_steps=25),
    _case("emoji_rocket", EMOJI, prompt="rocket", generator=101, num_inference_steps=10, negative_prompt="a dog"),
    _case("emoji_panda_dpm", EMOJI, prompt="a cute panda", generator=129, num_inference_steps=8, scheduler=DPM),
    _case("emoji_heart_no_guidance", EMOJI, prompt="blue heart", generator=104, num_inference_steps=8, guidance_scale=1.0),
]
