"""The keys of the models, each declared once; `conf/model/` holds their values.

The classes of these models take them as one value, `settings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from vwtransfer.config.schema import Bounds, Template

TASKS = ("generation", "detection", "classification")
"""What models do; no model may be called so."""
Node = Mapping[str, Any]
Dtype = Literal["float32", "float16", "bfloat16"]
Attention = Literal["sdpa", "eager"]
MemorySaver = Literal[
    "attention_slicing", "vae_slicing", "vae_tiling", "gradient_checkpointing", "without_t5"
]
Count = Annotated[int, Bounds(least=1)]
Positive = Annotated[float, Bounds(above=0)]
Step = Annotated[float, Bounds(above=0, most=1e30)]  # Adam divides it, in float32
Share = Annotated[float, Bounds(above=0, most=1)]
Prompt = Annotated[str, Template()]


@dataclass(frozen=True)
class Training:
    """How a model's words are optimised (table 2 of the paper)."""

    learning_rate: Step
    steps: Count
    batch_size: Count


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """What every frozen checkpoint has.

    Attributes:
        checkpoint: folder, or hub id.
        revision: branch, tag or commit of the hub's repository; None for its main branch.
        dtype: precision it runs in.
    """

    checkpoint: str
    revision: str | None = None
    dtype: Dtype


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Checkpointed):
    """What every model has that words are trained in.

    Attributes:
        name: in this study.
        task: what it does.
        support: file of the tokens that count for maps and delta balls, one a line: rows that were
            never trained are noise; None: all but the special ones.
        prompt_template: the prompt, `{}` where the word stands.
        training: how its words are optimised.
        compiled: whether torch compiles what every step runs, at its first use.
    """

    name: str
    task: str
    support: Path | None = None
    prompt_template: Prompt
    training: Training
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class LatentDiffusion(ModelSettings):
    """A generator that denoises latents.

    Attributes:
        denoising_steps: of the checkpoint's own scheduler for a generation.
        guidance_scale: weight of classifier-free guidance.
        images_per_word: generations that the accuracy of one word is measured on; 1 as published.
        image_size: pixels of a side; None: as the checkpoint states.
        attention: None for the libraries' choice.
        channels_last: whether convolutions run in that memory format.
        memory_savers: what trades time for memory; "without_t5" leaves a text encoder out, and so
            makes another model of it.
    """

    denoising_steps: Count
    guidance_scale: Annotated[float, Bounds(least=0)]
    images_per_word: Count
    image_size: Count | None = None
    attention: Attention | None = None
    channels_last: bool = False
    memory_savers: tuple[MemorySaver, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FlowMatching(LatentDiffusion):
    """A generator that is trained by flow matching, with a T5 among its text encoders.

    Attributes:
        prompt_tokens: that T5 reads, padding included.
        time_density: of the training times: "logit_normal" (of mean 0 and deviation 1) or
            "uniform".
        loss_weighting: of an error at sigma: "none", or "preconditioned", sigma squared.
    """

    prompt_tokens: Count
    time_density: Literal["logit_normal", "uniform"]
    loss_weighting: Literal["none", "preconditioned"]


@dataclass(frozen=True, kw_only=True)
class Flux(FlowMatching):
    """A FLUX.1.

    Attributes:
        training_guidance: that the transformer is told in training, where it has an embedding of
            guidance; `guidance_scale` is what it is told for a generation.
        true_guidance_scale: weight of classifier-free guidance; 1: none, as published.
    """

    training_guidance: Annotated[float, Bounds(least=0)] = 3.5
    true_guidance_scale: Annotated[float, Bounds(least=1)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Owlv2(ModelSettings):
    """An OWL-v2.

    Attributes:
        positive_iou: least overlap with an annotated box at which a region is the target's; the
            best region always is.
        negatives: how many of the other regions count, by objectness; None: all of them.
        max_boxes: predictions kept for an image.
        attention: None for the library's choice.
    """

    positive_iou: Share
    negatives: Count | None = None
    max_boxes: Count
    attention: Attention | None = None


@dataclass(frozen=True, kw_only=True)
class GroundingDino(ModelSettings):
    """A Grounding DINO or MM Grounding DINO.

    Attributes:
        max_boxes: predictions kept for an image.
        pairs_at_once: pairs of a word and an image that go through the model together; in training
            each such part is computed twice, and the memory of one is enough. None: all of a step.
        attention: None for the library's choice.
    """

    max_boxes: Count
    pairs_at_once: Count | None = None
    attention: Attention | None = None


@dataclass(frozen=True, kw_only=True)
class ImageText(ModelSettings):
    """What every model has that classifies by prompts.

    Attributes:
        target_share: share of a training batch that shows the concept.
    """

    target_share: Annotated[float, Bounds(above=0, below=1)]


@dataclass(frozen=True, kw_only=True)
class OpenClip(ImageText):
    """A CLIP or SigLIP of open_clip."""


@dataclass(frozen=True, kw_only=True)
class Siglip(ImageText):
    """A SigLIP of transformers, of fixed resolution.

    Attributes:
        attention: None for the library's choice.
    """

    attention: Attention | None = None


@dataclass(frozen=True, kw_only=True)
class Judge(Checkpointed):
    """The image-text model that says what a generated image shows."""

    prompt_template: Prompt
    attention: Attention | None = None


@dataclass(frozen=True, kw_only=True)
class Dino(Checkpointed):
    """The image model whose features say how similar generations are to photos."""

    attention: Attention | None = None


@dataclass(frozen=True, kw_only=True)
class SafetyChecker(Checkpointed):
    """The model that flags unsafe generations."""


SCHEMAS: Mapping[str, type] = {
    "vwtransfer.models.stable_diffusion.StableDiffusion": LatentDiffusion,
    "vwtransfer.models.stable_diffusion_xl.StableDiffusionXL": LatentDiffusion,
    "vwtransfer.models.stable_diffusion_3.StableDiffusion3": FlowMatching,
    "vwtransfer.models.flux.Flux": Flux,
    "vwtransfer.models.owlv2.Owlv2": Owlv2,
    "vwtransfer.models.grounding_dino.GroundingDino": GroundingDino,
    "vwtransfer.models.open_clip.OpenClip": OpenClip,
    "vwtransfer.models.siglip.Siglip": Siglip,
    "vwtransfer.models.judge.Judge": Judge,
    "vwtransfer.models.dino.Dino": Dino,
    "vwtransfer.models.safety.SafetyChecker": SafetyChecker,
}
