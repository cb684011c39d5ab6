"""Stable Diffusion 1 and 2 as frozen models: what is read of a checkpoint, and how it is run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vwtransfer.errors import UserError
from vwtransfer.models.checkpoints import Checkpoint, pretrained, weights

FILES = (
    ("model_index.json",),
    ("scheduler/scheduler_config.json",),
    ("tokenizer/tokenizer_config.json",),
    ("tokenizer/vocab.json", "tokenizer/tokenizer.json"),
    ("tokenizer/merges.txt", "tokenizer/tokenizer.json"),
    ("text_encoder/config.json",),
    weights("text_encoder/model") + weights("text_encoder/pytorch_model"),
    ("unet/config.json",),
    weights("unet/diffusion_pytorch_model"),
    ("vae/config.json",),
    weights("vae/diffusion_pytorch_model"),
)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The CLIPTokenizer of a checkpoint.

    Raises:
        UserError: a file is missing or damaged, or it is no Stable Diffusion 1 or 2.
    """
    from transformers import CLIPTokenizer

    with checkpoint.loading():
        _refuse_other_pipelines(checkpoint)
        return CLIPTokenizer.from_pretrained(
            checkpoint.source, subfolder="tokenizer", revision=checkpoint.revision
        )


def load_pipeline(
    checkpoint: Checkpoint, dtype: str, device: torch.device, attention: str | None
) -> Any:
    """The StableDiffusionPipeline of a checkpoint, frozen, with the scheduler it states.

    Args:
        checkpoint: where it is.
        dtype: precision of all its parts, such as "float16".
        device: where it runs.
        attention: "sdpa" or "eager"; None for the libraries' choice.

    Raises:
        UserError: as `load_tokenizer`.
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
    from transformers import CLIPTextModel

    precision = getattr(torch, dtype)
    in_diffusers = {"torch_dtype": precision}
    in_transformers = {"dtype": precision, "attn_implementation": attention}
    with checkpoint.loading():
        _refuse_other_pipelines(checkpoint)
        parts = {
            name: pretrained(kind, checkpoint, device, subfolder=name, **options)
            for name, kind, options in (
                ("unet", UNet2DConditionModel, in_diffusers),
                ("vae", AutoencoderKL, in_diffusers),
                ("text_encoder", CLIPTextModel, in_transformers),
            )
        }
        pipeline = StableDiffusionPipeline.from_pretrained(
            checkpoint.source,
            revision=checkpoint.revision,
            safety_checker=None,  # ours flags images, and hides none
            requires_safety_checker=False,
            feature_extractor=None,
            **parts,
        )
    if attention:
        processor = {"eager": AttnProcessor, "sdpa": AttnProcessor2_0}[attention]
        pipeline.unet.set_attn_processor(processor())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_memory(pipeline: Any, chosen: Sequence[str]) -> None:
    """Trades time for memory; changes numbers only by rounding.

    Args:
        pipeline: what is changed.
        chosen: some of "attention_slicing", "vae_slicing", "vae_tiling", "gradient_checkpointing".
    """
    if "attention_slicing" in chosen:
        pipeline.enable_attention_slicing()
    if "vae_slicing" in chosen:
        pipeline.vae.enable_slicing()
    if "vae_tiling" in chosen:
        pipeline.vae.enable_tiling()
    if "gradient_checkpointing" in chosen:
        pipeline.unet.enable_gradient_checkpointing()


def _refuse_other_pipelines(checkpoint: Checkpoint) -> None:
    from transformers.utils import cached_file  # what asks diffusers for it loads all of diffusers

    name = "model_index.json"
    path = cached_file(checkpoint.source, name, revision=checkpoint.revision)
    index = json.loads(Path(path).read_text(encoding="utf-8"))
    kind = index["_class_name"]
    if "text_encoder_2" in index:
        raise UserError(
            f"{checkpoint.key}.checkpoint={checkpoint.source}: a {kind} reads a prompt with two "
            "text encoders, and a word is the vectors of one. Take a Stable Diffusion 1 or 2, such "
            "as model/generation=sd21 or sd15."
        )
    if kind != "StableDiffusionPipeline":
        raise UserError(
            f"{checkpoint.key}.checkpoint={checkpoint.source}: is a {kind}; a "
            "StableDiffusionPipeline is needed, such as model/generation=sd21 or sd15."
        )
