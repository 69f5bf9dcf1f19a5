"""The parts of a small FLUX, all of them plain Diffusers and transformers classes, and its latents as tokens."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextModel, T5Config, T5EncoderModel

WIDTH = 128  # of both text encoders
SIDE = 8  # of a picture, in tokens
CHANNELS = 16  # of a token: 2 x 2 latent pixels of 4 channels
SHIFT = 1.5963  # of the schedule at 64 tokens, exp(mu) with FLUX.1-dev's numbers


def make_t5(vocabulary: int, embedding_scale: float) -> T5EncoderModel:
    config = T5Config(vocab_size=vocabulary, d_model=WIDTH, d_kv=32, d_ff=256, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu", dropout_rate=0.0,
                      tie_word_embeddings=False, is_encoder_decoder=False, use_cache=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    model = T5EncoderModel(config)
    model.shared.weight.data.mul_(embedding_scale)
    return model


class TextEncoders(torch.nn.Module):
    """CLIP, which begins as emoji-xl's first text encoder, and T5: what FLUX hands to its transformer."""

    def __init__(self, clip: CLIPTextModel, t5: T5EncoderModel):
        super().__init__()
        self.clip, self.t5 = clip, t5

    def forward(self, clip_ids: torch.Tensor, t5_ids: torch.Tensor):
        """-> pooled [B, 128], tokens [B, L, 128]; float32. Padding is attended to, as FluxPipeline does it."""
        return self.clip(clip_ids).pooler_output.float(), self.t5(t5_ids).last_hidden_state.float()


def make_transformer() -> FluxTransformer2DModel:
    """With residual branches that begin as nothing: the gates of the modulations are zero."""
    model = FluxTransformer2DModel(patch_size=1, in_channels=CHANNELS, num_layers=2, num_single_layers=5, attention_head_dim=32, num_attention_heads=5,
                                   joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=True, axes_dims_rope=(8, 12, 12))
    modulations = [m.linear for m in model.modules() if hasattr(m, "linear") and hasattr(m, "silu")]
    for layer in [*modulations, model.proj_out]:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def make_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """FLUX.1-dev's."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15,
                                           base_image_seq_len=256, max_image_seq_len=4096)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] -> [B, h w / 4, 4 C], as FluxPipeline packs them."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def image_ids() -> torch.Tensor:
    ids = torch.zeros(SIDE, SIDE, 3)
    ids[..., 1] += torch.arange(SIDE)[:, None]
    ids[..., 2] += torch.arange(SIDE)
    return ids.view(-1, 3)
