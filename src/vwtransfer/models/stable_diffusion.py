"""Stable Diffusion 1 and 2: a UNet that reads the states of one CLIP text encoder.

Letters: N words, K vectors per word, D embedding width, B batch, M images, L tokens,
C, H, W channels and sides of a latent.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.datasets import Dataset, training_examples
from vwtransfer.errors import UserError
from vwtransfer.models.cache import Cache, ImageEncoder
from vwtransfer.models.checkpoints import Checkpoint, pretrained, weights
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell

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


@dataclass(frozen=True)
class Latents:
    """Mean and deviation [M, C, H, W] of the VAE's posterior for each training image."""

    mean_MCHW: Tensor
    std_MCHW: Tensor
    concepts: list[str]


class StableDiffusion(Frozen):
    """A generator that words are learned in by textual inversion.

    Args:
        settings: see `config.models.StableDiffusion`.
        device: where it runs.
        cache: keeps the latents of images; None: every process computes them.
    """

    def __init__(
        self, settings: config.StableDiffusion, device: torch.device, cache: Cache | None = None
    ) -> None:
        super().__init__(settings, device, cache, FILES)
        self.settings = settings
        self.images_per_word = settings.images_per_word

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizer."""
        return {"text": self._vocabulary}

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        tokenizer = load_tokenizer(self.checkpoint)
        return of_transformers(tokenizer, tokenizer.model_max_length)

    @cached_property
    def pipeline(self) -> Any:
        """The StableDiffusionPipeline, frozen."""
        settings = self.settings
        pipeline = load_pipeline(self.checkpoint, settings.dtype, self.device, settings.attention)
        save_memory(pipeline, settings.memory_savers)
        if settings.channels_last:
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        if settings.compiled:
            pipeline.unet.compile()
        return pipeline

    @cached_property
    def _noising(self) -> Any:
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_config(self.pipeline.scheduler.config)

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The CLIP text encoder; all its states are read."""
        encoder = self.pipeline.text_encoder

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            return Encoded(encoder(input_ids=ids_NL).last_hidden_state, None)

        text = TextEncoder(
            self._vocabulary,
            encoder.get_input_embeddings(),
            forward,
            only_pooled=False,
            blocks=encoder.encoder.layers,
        )
        return EmbeddingSpace({"text": text}, self.support, self.name)

    def features(self, dataset: Dataset) -> Latents:
        """The latents of the training images."""
        examples = training_examples(dataset)
        parts = list(self._image_encoder.batches(examples))
        mean, std = (torch.cat([part[name] for part in parts]) for name in ("mean", "std"))
        return Latents(mean, std, [example.concept for example in examples])

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        pipeline, size, settings = self.pipeline, self._size, self.settings
        prepare = partial(pipeline.image_processor.preprocess, height=size, width=size)
        stated = (
            *(_stated(part.config) for part in (pipeline.vae, pipeline.image_processor)),
            *(size, settings.memory_savers, settings.channels_last),
        )
        return ImageEncoder(encode_images, pipeline.vae, prepare, 8, stated, self.cache)

    @property
    def _size(self) -> int:
        pipeline = self.pipeline
        stated: int = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        return self.settings.image_size or stated

    def batches(self, features: Latents, cell: Cell) -> Tensor:
        """Images of the concept in shuffled epochs."""
        own = [i for i, concept in enumerate(features.concepts) if concept == cell.concept]
        return self.shuffled(own, cell)

    def loss(
        self,
        words_NKD: Tensor,
        features: Latents,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The denoising objective (table 1), for the prediction the checkpoint was trained for.

        Raises:
            ValueError: the scheduler's prediction_type is neither epsilon, v_prediction nor sample.
        """
        N, B = images_NB.shape
        noising, unet = self._noising, self.pipeline.unet
        draws = [self._draw(cell, step, B, features.mean_MCHW.shape[1:]) for cell in cells]
        sample, noise, t = (self._sent(torch.cat(d)) for d in zip(*draws, strict=True))
        images = images_NB.flatten()
        latent = features.mean_MCHW[images] + features.std_MCHW[images] * sample
        latent = latent * self.pipeline.vae.config.scaling_factor
        noisy = noising.add_noise(latent, noise, t)
        text_NLD = self.text.encode_words(self.prompt_template, words_NKD).states_NLD
        predicted = unet(
            noisy.to(unet.dtype), t, encoder_hidden_states=text_NLD.repeat_interleave(B, dim=0)
        ).sample
        match noising.config.prediction_type:
            case "epsilon":
                target = noise
            case "v_prediction":
                target = noising.get_velocity(latent, noise, t)
            case "sample":
                target = latent
            case other:
                raise ValueError(f"unknown prediction_type {other!r}")
        return (predicted.float() - target).square().reshape(N, -1).mean(dim=1)

    def _sent(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; a GPU goes on with its work meanwhile."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _draw(
        self, cell: Cell, step: int, batch: int, shape: torch.Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior sample, noise and timesteps of one word at one step, from its key alone."""
        stream = generator("denoising", cell.stream(self.task), step)
        sample = torch.randn(batch, *shape, generator=stream)
        noise = torch.randn(batch, *shape, generator=stream)
        steps = self._noising.config.num_train_timesteps
        return sample, noise, torch.randint(steps, (batch,), generator=stream)

    @torch.no_grad()
    def draw(self, prompts: Prompts, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream."""
        images: list[Image.Image] = self.pipeline(
            prompt_embeds=prompts.states_NLD,
            negative_prompt_embeds=self._nothing_1LD.expand(len(streams), -1, -1),
            height=self._size,
            width=self._size,
            num_inference_steps=self.settings.denoising_steps,
            guidance_scale=self.settings.guidance_scale,
            generator=list(streams),
        ).images
        return images

    @property
    def _nothing_1LD(self) -> Tensor:
        """The prompt that guidance leads away from, read by as many blocks as the word's is."""
        with torch.no_grad():
            return self.text.encode_text([""]).states_NLD


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what diffusers notes of where and how it was read."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@torch.no_grad()
def encode_images(
    vae: Any, prepare: Callable[..., Tensor], images: Sequence[Image.Image]
) -> dict[str, Tensor]:
    """The "mean" and "std" [M, C, H, W] of the posterior of each image's latent, float32.

    Args:
        vae: an AutoencoderKL.
        prepare: makes a tensor of images.
        images: M images of any sizes.
    """
    pixels = prepare(list(images)).to(vae.device, vae.dtype)
    posterior = vae.encode(pixels).latent_dist
    return {"mean": posterior.mean.float(), "std": posterior.std.float()}


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
