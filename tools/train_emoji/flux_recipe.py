"""Every number of emoji-flux's recipe in one place."""

from dataclasses import dataclass, replace

from recipe import Recipe


@dataclass(frozen=True)
class FluxRecipe:
    pictures: Recipe = Recipe()  # pictures and captions are those of emoji-xl

    # T5's tokenizer
    pieces: int = 1500
    extra_ids: int = 100

    # text encoders alone
    text_steps: int = 1000
    text_batch: int = 96
    text_learning_rate: float = 1e-3
    text_adam_learning_rate: float = 2e-3
    # T5's embedding begins at a deviation of 1, of which it learns nothing for a long time.
    t5_embedding_scale: float = 0.1

    # transformer
    flux_steps: int = 2200
    flux_batch: int = 64
    flux_learning_rate: float = 2e-3
    flux_adam_learning_rate: float = 1e-3
    flux_average: float = 0.996
    prompt_dropout: float = 0.1
    largest_guidance: float = 6.0
    plain_guidance: float = 0.25  # of the samples: guidance 1
    overshoot: float = 0.3  # of the samples: where guidance leads in the first steps, beyond the straight path

    # the picture at the end
    sampling_steps: int = 4
    sampling_length: int = 64


FULL = FluxRecipe()
SMOKE = replace(FULL, pictures=replace(FULL.pictures, glyph_limit=12), pieces=400, text_steps=4, text_batch=8, flux_steps=4, flux_batch=8)
