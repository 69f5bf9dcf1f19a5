"""Every number of the training recipe in one place."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    # pictures and captions
    resolution: int = 128
    glyph_width: int = 124  # the font's bitmaps are 136 wide; scaled to this they keep a white margin of two pixels
    glyph_limit: int | None = None  # None: every name of glyphs.txt
    vocabulary: int = 1536

    # autoencoder
    vae_steps: int = 2400
    vae_batch: int = 6
    vae_learning_rate: float = 2e-3
    vae_kl_weight: float = 1e-4
    vae_latent_noise: float = 0.1  # scale of a random extra noise on the latents, which the decoder learns to forgive the UNet

    # text encoders: first alone, then once more behind the trained UNet
    text_steps: int = 800
    text_batch: int = 128
    text_learning_rate: float = 1e-3
    text_tune_steps: int = 250
    text_tune_batch: int = 96
    text_tune_learning_rate: float = 5e-4

    # UNet
    unet_steps: int = 2900
    unet_batch: int = 64
    unet_learning_rate: float = 2e-3
    unet_adam_learning_rate: float = 1e-3
    unet_prompt_dropout: float = 0.1  # SDXL zeroes the embeddings of an empty prompt: guidance needs a UNet that knows those zeros
    unet_latent_noise: float = 0.03

    # decoder, once more on latents as the UNet samples them
    decoder_steps: int = 850
    decoder_batch: int = 6
    decoder_learning_rate: float = 7e-4
    samples_per_glyph: int = 2
    sampling_steps: int = 20
    sampling_batch: int = 43
    guidance_scale: float = 5.0
    sample_error_limit: float = 0.25  # latents further than this (mean square) from their glyph are failed drawings, not data


FULL = Recipe()

# The whole chain in about a minute: nothing is learnt, everything is run.
SMOKE = replace(
    FULL,
    glyph_limit=12,
    vae_steps=4,
    vae_batch=2,
    text_steps=6,
    text_batch=8,
    text_tune_steps=4,
    text_tune_batch=8,
    unet_steps=4,
    unet_batch=4,
    decoder_steps=3,
    decoder_batch=3,
    samples_per_glyph=1,
    sampling_steps=2,
    sampling_batch=6,
    sample_error_limit=1e9,
)
