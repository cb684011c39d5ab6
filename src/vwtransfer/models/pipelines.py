"""Pipelines of diffusers: loaded frozen, with their tokenizers, or refused by what they are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vwtransfer.errors import UserError
from vwtransfer.models import single_file
from vwtransfer.models.checkpoints import Alternatives, Checkpoint, weights

SUPPORTED: Mapping[str, str] = {
    "StableDiffusionPipeline": "model/generation=sd21 or sd15",
    "StableDiffusionXLPipeline": "model/generation=sdxl",
    "StableDiffusion3Pipeline": "model/generation=sd35_medium",
    "FluxPipeline": "model/generation=flux1_dev or flux1_schnell",
}
"""Class of each pipeline that words can be learned in -> the models that there are of it."""

INDEX = "model_index.json"


def files(denoiser: str, encoders: Sequence[str]) -> tuple[Alternatives, ...]:
    """What loading a pipeline reads of a checkpoint.

    Args:
        denoiser: folder of the network that denoises, such as "unet".
        encoders: folders of the text encoders, such as "text_encoder_2".
    """
    read = [*text_files(encoders), ("scheduler/scheduler_config.json",)]
    for part in (denoiser, "vae"):
        read += [(f"{part}/config.json",), weights(f"{part}/diffusion_pytorch_model")]
    return tuple(read)


def text_files(encoders: Sequence[str]) -> tuple[Alternatives, ...]:
    """What loading the text encoders of a pipeline reads, with their tokenizers."""
    read: list[Alternatives] = [(INDEX,)]
    for encoder in encoders:
        tokenizer = encoder.replace("text_encoder", "tokenizer")
        read += [
            (f"{tokenizer}/tokenizer_config.json",),
            (f"{tokenizer}/vocab.json", f"{tokenizer}/tokenizer.json"),
            (f"{tokenizer}/merges.txt", f"{tokenizer}/tokenizer.json"),
            (f"{encoder}/config.json",),
            weights(f"{encoder}/model") + weights(f"{encoder}/pytorch_model"),
        ]
    return tuple(read)


def load_tokenizer(
    checkpoint: Checkpoint, kind: str, folder: str = "tokenizer", of: str = "CLIPTokenizer"
) -> Any:
    """The tokenizer in a folder of a checkpoint.

    Args:
        checkpoint: where it is.
        kind: class of the checkpoint's pipeline.
        folder: which of its tokenizers.
        of: the tokenizer's class in transformers.

    Raises:
        UserError: a file is missing or damaged, or the pipeline is another.
    """
    import transformers

    if checkpoint.single_file:
        return single_file.clip_tokenizer()
    with checkpoint.loading():
        refuse_others(checkpoint, kind)
        return getattr(transformers, of).from_pretrained(
            checkpoint.source, subfolder=folder, revision=checkpoint.revision
        )


def save_memory(pipeline: Any, denoiser: Any, chosen: Sequence[str]) -> None:
    """Trades time for memory; changes numbers only by rounding.

    Args:
        pipeline: what is changed.
        denoiser: the part of it that denoises.
        chosen: some of "attention_slicing", "vae_slicing", "vae_tiling", "gradient_checkpointing";
            a text encoder that is left out was not loaded.
    """
    if "attention_slicing" in chosen:
        pipeline.enable_attention_slicing()
    if "vae_slicing" in chosen:
        pipeline.vae.enable_slicing()
    if "vae_tiling" in chosen:
        pipeline.vae.enable_tiling()
    if "gradient_checkpointing" in chosen:
        denoiser.enable_gradient_checkpointing()


def refuse_others(checkpoint: Checkpoint, kind: str) -> None:
    """Refuses a checkpoint whose pipeline is of another class than the model's.

    Raises:
        UserError: says which model to take for it, or which pipelines are supported.
    """
    from transformers.utils import cached_file  # what asks diffusers for it loads all of diffusers

    path = cached_file(checkpoint.source, INDEX, revision=checkpoint.revision)
    found = json.loads(Path(path).read_text(encoding="utf-8"))["_class_name"]
    if found == kind:
        return
    where = f"{checkpoint.key}.checkpoint={checkpoint.source}: is a {found}"
    if found in SUPPORTED:
        raise UserError(
            f"{where}, and {checkpoint.key} is a {kind}. Take this checkpoint with "
            f"{SUPPORTED[found]}, whose class it is."
        )
    known = "; ".join(f"{name} ({models})" for name, models in SUPPORTED.items())
    raise UserError(f"{where}, which is not supported. Supported: {known}.")
