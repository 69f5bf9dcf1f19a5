"""Which arguments of Diffusers' pipelines a call of Vivace does not have.

    python tools/golden/missing_arguments.py

Compares the signatures of the pipelines' __call__ with the fields of CallOptions in include/vivace/pipeline.h, by name. Those with another form there:
"""

import inspect
import re
from pathlib import Path

import diffusers

PIPELINES = ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline", "FluxPipeline", "FluxKontextPipeline", "FluxImg2ImgPipeline", "AuraFlowPipeline"]
OTHER_FORMS = {
    "self": "the pipeline",
    "prompt": "the first argument",
    "generator": "seed, seeds or generators",
    "output_type": "output_latent; pictures are Images",
    "return_dict": "always a PipelineOutput",
    "_auto_resize": "auto_resize",
    "prompt_attention_mask": "not needed: Diffusers asks for it beside prompt_embeds and reads it no more",
    "negative_prompt_attention_mask": "likewise",
}


def fields() -> set[str]:
    header = (Path(__file__).resolve().parents[2] / "include" / "vivace" / "pipeline.h").read_text()
    body = header.split("struct CallOptions {")[1].split("\n};")[0]
    statements = re.sub(r"//[^\n]*|\{[^{}]*\}", "", body).split(";")
    return {name for statement in statements for name in re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", statement.strip())}


def main() -> None:
    known = fields()
    for name, form in OTHER_FORMS.items():
        print(f"{name}: {form}")
    for pipeline in PIPELINES:
        arguments = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
        missing = [a for a, p in arguments.items() if a not in known and a not in OTHER_FORMS and p.kind is not p.VAR_KEYWORD]
        print(f"{pipeline}: {len(arguments)} arguments, without {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    main()
