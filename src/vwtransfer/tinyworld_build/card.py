"""The model card: what the measured quality says, for a person to read."""

from collections.abc import Mapping, Sequence
from typing import Any

GENERATORS = ("generation", "tiny_sd_b", "tiny_sdxl", "tiny_flux")
_ABOUT = """\
# The tiny world's models

Miniature models of the real library classes, trained on rendered scenes of 8 shapes x
8 colours x 4 patterns (256 combinations, 216 with a noun of their own, 40 without one: the concepts
of the four datasets). Built from a seed by

    python -m vwtransfer.tinyworld_build

a resumable stage for each part. float16 safetensors. This card is written by the same command.

| model | class | text width | images |
| --- | --- | --- | --- |
| `generation` | StableDiffusionPipeline (velocity, DDIM, 16 x 16 x 4 latents) | 96 | 32 px |
| `tiny_sd_b` | StableDiffusionPipeline (same latents; splits a third of the words) | 128 | 32 px |
| `tiny_sdxl` | StableDiffusionXLPipeline (same latents; noise, Euler) | 64 and 96 | 32 px |
| `tiny_flux` | FluxPipeline (same latents; flow matching) | CLIP 64, T5 96 | 32 px |
| `detection` | Owlv2ForObjectDetection (64 regions) | 80 | 64 px |
| `classification` | open_clip CLIP | 64 | 48 px |
| `judge` | CLIPModel | 96 | 48 px |
| `tiny_siglip` | SiglipModel (a third of the words split into two tokens or more) | 64 | 48 px |
| `tiny_grounding_dino` | MMGroundingDinoForObjectDetection (WordPiece, ten queries) | 96 | 64 px |
| `wide_clip` | open_clip CLIP of the wide world (3,112 words) | 80 | 48 px |
| `wide_owlv2` | Owlv2ForObjectDetection of the wide world (3,112 words) | 96 | 64 px |
| `second_clip` | open_clip CLIP of the second world | 72 | 48 px |
| `second_owlv2` | Owlv2ForObjectDetection of the second world | 88 | 64 px |
| `third_clip` | open_clip CLIP of the third world | 56 | 48 px |
| `third_owlv2` | Owlv2ForObjectDetection of the third world | 72 | 64 px |

The wide world has 16 shapes x 16 colours x 8 patterns (2,048 combinations, 1,400 with a noun) on 8
backgrounds, and 1,536 words for settings. The second and the third world are as large as the tiny
one, with 176 nouns each, and of other things: the second has none of the tiny world's colours,
patterns, shapes and backgrounds, the third every other one of the wide world's.

## Quality

On held-out renders, with 95 % intervals: Wilson's for shares, by leaving out groups of images for
average precision. Prompts are "a photo of {}" with the noun or the description. Ten-way is among
the ten concepts of a dataset. The ceiling is what the judge reads from renders that went through
the autoencoder."""

_TIME = """
## What it took

Seconds of each stage on one core, some of them beside other work: {seconds}.
Two chains of stages run side by side: the judge, classification and detection; the autoencoder,
text and generation, on which the other generators build.
{machine}; seed {seed}, {threads}.
"""


def model_card(quality: Mapping[str, Any]) -> str:
    """MODEL_CARD.md for the contents of quality.json."""
    rows = [
        f"| {model} | {name} | {_value(measure)} | {_aim(model, name)} |"
        for model, measures in quality["models"].items()
        for name, measure in measures.items()
    ]
    table = ["| model | measure | value | aim |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([_ABOUT, "", *table, _time(quality["stages"], quality["machine"])])


def _value(measure: Mapping[str, float]) -> str:
    if "low" not in measure:
        return f"{measure['value']:.1f}"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _aim(model: str, name: str) -> str:
    """What the measure should reach at least."""
    if name.startswith("AP50"):
        return "0.85"
    if name.startswith("mAP"):
        return "0.60"
    if name.startswith("ten-way"):
        return "0.97" if model in ("judge", "classification") else "0.95"
    if name == "256-way":
        return "0.75 of the ceiling" if model in GENERATORS else "0.85"
    return ""


def _time(stages: Sequence[Mapping[str, Any]], machine: str) -> str:
    seconds = ", ".join(f"{stage['stage']} {stage['seconds']:,}" for stage in stages)
    threads = stages[0]["threads"]
    return _TIME.format(
        seconds=seconds,
        machine=machine,
        seed=stages[0]["seed"],
        threads="one thread" if threads == 1 else f"{threads} threads",
    )
