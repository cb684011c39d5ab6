"""What all generators share that denoise latents: the images' latents, seeded draws, generations.

A family states how its pipeline is loaded, what its text encoders give, and what it predicts.

Letters: N words, K vectors per word, D embedding width, B batch, M images, C, H, W channels and
sides of a latent.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.datasets import Dataset, training_examples
from vwtransfer.errors import UserError
from vwtransfer.models import single_file
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.checkpoints import Alternatives, Checkpoint, pretrained
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen
from vwtransfer.models.pipelines import (
    files,
    load_tokenizer,
    refuse_others,
    save_memory,
    text_files,
)
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


@dataclass(frozen=True)
class Latents:
    """Mean and deviation [M, C, H, W] of the VAE's posterior for each training image.

    Attributes:
        sizes_M2: height and width of each image before it was resized, which some models are told.
    """

    mean_MCHW: Tensor
    std_MCHW: Tensor
    concepts: list[str]
    sizes_M2: Tensor | None = None


@torch.no_grad()
def encode_images(
    vae: Any, prepare: Callable[..., Tensor], images: Sequence[Image.Image]
) -> dict[str, Tensor]:
    """The "mean" and "std" [M, C, H, W] of the posterior of each image's latent, float32.

    Beside them "sizes" [M, 2], height and width of the images themselves.

    Args:
        vae: an AutoencoderKL.
        prepare: makes a tensor of images.
        images: M images of any sizes.
    """
    loaded = list(images)
    pixels = prepare(loaded).to(vae.device, vae.dtype)
    posterior = vae.encode(pixels).latent_dist
    sizes = torch.tensor([(image.height, image.width) for image in loaded], dtype=torch.float32)
    return {"mean": posterior.mean.float(), "std": posterior.std.float(), "sizes": sizes}


class LatentDiffusion(Frozen):
    """A generator that words are learned in by textual inversion.

    Attributes:
        kind: the pipeline's class in diffusers.
        denoiser_name: the part of the pipeline that denoises.
        denoiser_kind: its class in diffusers.
    """

    settings: config.LatentDiffusion
    kind: str
    denoiser_name, denoiser_kind = "unet", "UNet2DConditionModel"

    @property
    @abstractmethod
    def encoders(self) -> Mapping[str, tuple[str, str]]:
        """The text encoders by name, in the order in which the model reads them.

        Of each its folder, and its class in transformers.
        """

    @property
    def options(self) -> Mapping[str, Any]:
        """More of the pipeline's `from_pretrained`."""
        return {}

    @cached_property
    def files(self) -> Sequence[Alternatives]:
        """What loading the pipeline reads."""
        return files(self.denoiser_name, [folder for folder, _ in self.encoders.values()])

    @cached_property
    def text_checkpoint(self) -> Checkpoint:
        """The same checkpoint, of which the text encoders alone are read."""
        read = text_files([folder for folder, _ in self.encoders.values()])
        return replace(self.checkpoint, files=read)

    @property
    def images_per_word(self) -> int:
        """How many generations a word's accuracy is measured on."""
        return self.settings.images_per_word

    @cached_property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizers; reading them loads no weights."""
        return {name: self.vocabulary_of(*encoder) for name, encoder in self.encoders.items()}

    def vocabulary_of(self, folder: str, kind: str) -> Vocabulary:
        """The tokenizer of a text encoder, given by its folder and its class."""
        tokens = folder.replace("text_encoder", "tokenizer")
        tokenizer = load_tokenizer(self.text_checkpoint, self.kind, tokens)
        return of_transformers(tokenizer, tokenizer.model_max_length)

    @cached_property
    def text_encoders(self) -> dict[str, Any]:
        """The library's text encoders by their folders, frozen; nothing else is loaded for them."""
        import transformers

        classes = {folder: getattr(transformers, kind) for folder, kind in self.encoders.values()}
        options = {"dtype": self.dtype, "attn_implementation": self.settings.attention}
        with self.text_checkpoint.loading():
            if self.text_checkpoint.single_file:
                path = Path(self.text_checkpoint.source)
                return single_file.text_encoders(path, classes, self.dtype, self.device)
            refuse_others(self.text_checkpoint, self.kind)
            return {
                name: pretrained(part, self.text_checkpoint, self.device, subfolder=name, **options)
                for name, part in classes.items()
            }

    def load(self) -> Any:
        """The pipeline of the checkpoint, frozen, with the scheduler it states.

        Raises:
            UserError: a file is missing or damaged, the pipeline is another, or all is one file.
        """
        import diffusers

        checkpoint = self.checkpoint
        parts = {
            self.denoiser_name: (getattr(diffusers, self.denoiser_kind), self.dtype),
            "vae": (diffusers.AutoencoderKL, self.vae_dtype()),
        }
        text_encoders = self.text_encoders
        if checkpoint.single_file:
            raise UserError(
                f"{checkpoint.key}.checkpoint={checkpoint.source}: is one file, of which text "
                "encoders alone are read, as action=convert does. Take the model's folder or hub "
                "id."
            )
        with checkpoint.loading():
            refuse_others(checkpoint, self.kind)
            loaded = {
                name: pretrained(part, checkpoint, self.device, subfolder=name, torch_dtype=dtype)
                for name, (part, dtype) in parts.items()
            }
            pipeline = getattr(diffusers, self.kind).from_pretrained(
                checkpoint.source,
                revision=checkpoint.revision,
                **text_encoders,
                **loaded,
                **self.options,
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def vae_dtype(self) -> torch.dtype:
        """The VAE's precision: the model's."""
        return self.dtype

    @property
    @abstractmethod
    def text(self) -> EmbeddingSpace:
        """The text encoders; reading it loads them alone."""

    @abstractmethod
    def times(self, count: int, stream: torch.Generator) -> Tensor:
        """Random times [count] at which a training step denoises, on the CPU."""

    @abstractmethod
    def predicted_and_target(
        self,
        latent_BCHW: Tensor,
        noise_BCHW: Tensor,
        times_B: Tensor,
        prompts: Prompts,
        sizes_B2: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """What the model predicts of noised latents, and what it should, [B, C, H, W] each.

        Args:
            latent_BCHW: scaled latents of images.
            noise_BCHW: noise to add.
            times_B: from `times`.
            prompts: B encoded prompts.
            sizes_B2: height and width of the images, where the features have them.
        """

    @abstractmethod
    def conditions(self, prompts: Prompts) -> Mapping[str, Any]:
        """The arguments by which the pipeline is given N encoded prompts."""

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline of diffusers, frozen."""
        settings = self.settings
        pipeline = self.load()
        denoiser = getattr(pipeline, self.denoiser_name)
        save_memory(pipeline, denoiser, settings.memory_savers)
        if settings.channels_last:
            denoiser.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        if settings.compiled:
            denoiser.compile()
        return pipeline

    @property
    def denoiser(self) -> Any:
        """The part of the pipeline that denoises."""
        return getattr(self.pipeline, self.denoiser_name)

    def features(self, dataset: Dataset) -> Latents:
        """The latents of the training images."""
        examples = training_examples(dataset)
        parts = list(self._image_encoder.batches(examples))
        mean, std, sizes = (
            torch.cat([part[name] for part in parts]) for name in ("mean", "std", "sizes")
        )
        return Latents(mean, std, [example.concept for example in examples], sizes)

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        pipeline, size, settings = self.pipeline, self.size, self.settings
        prepare = partial(pipeline.image_processor.preprocess, height=size, width=size)
        stated = (
            *(_stated(part.config) for part in (pipeline.vae, pipeline.image_processor)),
            *(size, settings.memory_savers, settings.channels_last),
        )
        return ImageEncoder(encode_images, pipeline.vae, prepare, 8, stated, self.cache)

    @property
    def size(self) -> int:
        """Pixels of a side of an image."""
        stated: int = self.denoiser.config.sample_size * self.pipeline.vae_scale_factor
        return self.settings.image_size or stated

    def loss(
        self,
        words_NKD: Tensor,
        features: Latents,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The denoising objective (table 1), for the prediction the checkpoint was trained for."""
        N, B = images_NB.shape
        draws = [self._draw(cell, step, B, features.mean_MCHW.shape[1:]) for cell in cells]
        sample, noise, times = (self._sent(torch.cat(d)) for d in zip(*draws, strict=True))
        images = images_NB.flatten()
        latent = features.mean_MCHW[images] + features.std_MCHW[images] * sample
        sizes = None if features.sizes_M2 is None else features.sizes_M2[images]
        prompts = self.text.encode_words(self.prompt_template, words_NKD).repeat_interleave(B)
        predicted, target = self.predicted_and_target(
            self._scaled(latent), noise, times, prompts, sizes
        )
        return (predicted.float() - target).square().reshape(N, -1).mean(dim=1)

    def _scaled(self, latent: Tensor) -> Tensor:
        """Latents as the denoiser sees them."""
        vae = self.pipeline.vae.config
        if vae.shift_factor is not None:
            latent = latent - vae.shift_factor
        scaled: Tensor = latent * vae.scaling_factor
        return scaled

    def _sent(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; a GPU goes on with its work meanwhile."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _draw(
        self, cell: Cell, step: int, batch: int, shape: torch.Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior sample, noise and times of one word at one step, from its key alone."""
        stream = generator("denoising", cell.stream(self.task), step)
        sample = torch.randn(batch, *shape, generator=stream)
        noise = torch.randn(batch, *shape, generator=stream)
        return sample, noise, self.times(batch, stream)

    @torch.no_grad()
    def draw(self, prompts: Prompts, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream."""
        images: list[Image.Image] = self.generate(prompts, streams)
        return images

    def generate(self, prompts: Prompts, streams: Sequence[torch.Generator], **options: Any) -> Any:
        """What the pipeline makes of encoded prompts.

        Args:
            prompts: N of them.
            streams: N, of the noise.
            options: more of the pipeline.
        """
        return self.pipeline(
            **self.conditions(prompts),
            height=self.size,
            width=self.size,
            num_inference_steps=self.settings.denoising_steps,
            guidance_scale=self.settings.guidance_scale,
            generator=list(streams),
            **options,
        ).images


def embeds(states_NLD: Tensor, pooled_NE: Tensor, kind: str = "") -> dict[str, Tensor]:
    """What pipelines with a pooled feature are given of prompts, or with "negative_" of nothing."""
    return {f"{kind}prompt_embeds": states_NLD, f"{kind}pooled_prompt_embeds": pooled_NE}


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what diffusers notes of where and how it was read."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
