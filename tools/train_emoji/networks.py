"""The tiny SDXL components, all of them plain Diffusers and transformers classes."""

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SCALING_FACTOR = 0.13025  # SDXL's own; whitening the latents makes it true for this autoencoder too
LATENT_CHANNELS = 4


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=LATENT_CHANNELS,
        sample_size=128,
        act_fn="silu",
        scaling_factor=SCALING_FACTOR,
    )


def _text_config(vocabulary: int, hidden: int, act: str) -> CLIPTextConfig:
    # The ids 0 / 2 / 1 are those of SDXL's own configs: eos_token_id 2 means pooling at the largest id, which is <|endoftext|>.
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=2,
        num_attention_heads=hidden // 64,
        max_position_embeddings=77,
        hidden_act=act,
        layer_norm_eps=1e-5,
        projection_dim=hidden,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


class TextEncoders(torch.nn.Module):
    """Both encoders, giving what SDXL hands to its UNet."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.first = CLIPTextModel(_text_config(vocabulary, 128, "quick_gelu"))
        self.second = CLIPTextModelWithProjection(_text_config(vocabulary, 192, "gelu"))

    def forward(self, first_ids: torch.Tensor, second_ids: torch.Tensor):
        """-> penultimate hidden states of each [B, L, 128] and [B, L, 192], pooled text_embeds [B, 192]; float32"""
        first = self.first(first_ids, output_hidden_states=True).hidden_states[-2]
        second = self.second(second_ids, output_hidden_states=True)
        return first.float(), second.hidden_states[-2].float(), second.text_embeds.float()


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(2, 3, 4),
        cross_attention_dim=128 + 192,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=192 + 6 * 32,
        use_linear_projection=True,
    )


def make_scheduler() -> EulerDiscreteScheduler:
    """SDXL's."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        steps_offset=1,
        timestep_spacing="leading",
    )
