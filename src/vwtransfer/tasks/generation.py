"""Generation: a Stable Diffusion draws what a prompt says.

Shapes: N words, K vectors per word, D embedding width, B batch, M images, L tokens,
C, H, W channels and sides of a latent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import Training
from vwtransfer.datasets import NEGATIVES, Dataset
from vwtransfer.models.cache import Cache, Encoder
from vwtransfer.models.checkpoints import Checkpoint
from vwtransfer.models.judge import Judge
from vwtransfer.models.safety import SafetyChecker
from vwtransfer.models.stable_diffusion import FILES, load_pipeline, load_tokenizer, save_memory
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.seeds import generator
from vwtransfer.tasks import (
    Applied,
    Measurement,
    batch_stream,
    shuffled_epochs,
    training_examples,
)
from vwtransfer.words.cells import Cell

DRAWN_AT_ONCE = 8  # images, as long as they fit into memory


@dataclass(frozen=True)
class Latents:
    """Mean and deviation [M, C, H, W] of the VAE's posterior for each training image."""

    mean_MCHW: Tensor
    std_MCHW: Tensor
    concepts: list[str]


class Generation:
    """A word that makes Stable Diffusion draw a concept (textual inversion).

    Args:
        checkpoint: folder or hub id of a StableDiffusionPipeline.
        revision: of the hub's repository; None for its main branch.
        judge: the model that tells which concept a generated image shows.
        safety: the model that flags unsafe images; None for not checked.
        dtype: precision of the frozen model, such as "float32".
        device: where it runs.
        attention: "sdpa" or "eager"; None for the library's choice.
        compiled: whether torch compiles the UNet, at its first use.
        channels_last: whether convolutions run in that memory format.
        memory: what is traded for time; see conf/model/generation/base.yaml.
        template: the prompt, `{}` where the word stands.
        training: learning rate, steps and batch size.
        denoising_steps: steps of the checkpoint's own scheduler for a generation.
        guidance_scale: weight of classifier-free guidance.
        images_per_word: generations that the accuracy of one word is measured on.
        image_size: side in pixels; None for what the checkpoint was trained for.
        cache: keeps the latents of images; None: every process computes them.
    """

    name = "generation"
    metrics = ("generation_accuracy",)
    trains_with = ()
    measured_with = (NEGATIVES,)  # ranking first among one means nothing

    def __init__(
        self,
        checkpoint: str,
        judge: Judge,
        dtype: str,
        device: torch.device,
        template: str,
        training: Training,
        denoising_steps: int,
        guidance_scale: float,
        images_per_word: int,
        image_size: int | None = None,
        safety: SafetyChecker | None = None,
        revision: str | None = None,
        attention: str | None = None,
        compiled: bool = False,
        channels_last: bool = False,
        memory: Sequence[str] = (),
        cache: Cache | None = None,
    ) -> None:
        self.checkpoint = Checkpoint("model.generation", checkpoint, revision, FILES)
        self.judge = judge
        self.safety = safety
        self.dtype = dtype
        self.device = device
        self.attention = attention
        self.compiled = compiled
        self.channels_last = channels_last
        self.memory = memory
        self.template = template
        self.training = training
        self.denoising_steps = denoising_steps
        self.guidance_scale = guidance_scale
        self.images_per_word = images_per_word
        self.image_size = image_size
        self.cache = cache
        self.measured_at_once = max(1, DRAWN_AT_ONCE // images_per_word)
        self._drawn_at_once = DRAWN_AT_ONCE

    @cached_property
    def vocabulary(self) -> Vocabulary:
        tokenizer = load_tokenizer(self.checkpoint)
        return of_transformers(tokenizer, tokenizer.model_max_length)

    @cached_property
    def pipeline(self) -> Any:
        """The StableDiffusionPipeline, frozen."""
        pipeline = load_pipeline(self.checkpoint, self.dtype, self.device, self.attention)
        save_memory(pipeline, self.memory)
        if self.channels_last:
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        if self.compiled:
            pipeline.unet.compile()
        return pipeline

    @cached_property
    def _noising(self) -> Any:
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_config(self.pipeline.scheduler.config)

    @cached_property
    def text(self) -> TextEncoder:
        encoder = self.pipeline.text_encoder
        embedding = encoder.get_input_embeddings()
        return TextEncoder(
            self.vocabulary,
            embedding,
            lambda ids_NL: encoder(input_ids=ids_NL).last_hidden_state,
            pooled=False,
            blocks=encoder.encoder.layers,
        )

    def chance(self, concepts: int) -> dict[str, float]:
        return {"generation_accuracy": 1 / concepts}

    def features(self, dataset: Dataset) -> Latents:
        examples = training_examples(dataset)
        parts = list(self._eye.batches(examples))
        mean, std = (torch.cat([part[name] for part in parts]) for name in ("mean", "std"))
        return Latents(mean, std, [example.concept for example in examples])

    @cached_property
    def _eye(self) -> Encoder:
        pipeline, size = self.pipeline, self._size
        prepare = partial(pipeline.image_processor.preprocess, height=size, width=size)
        settings = (
            *(_stated(part.config) for part in (pipeline.vae, pipeline.image_processor)),
            *(size, self.memory, self.channels_last),
        )
        return Encoder(look, pipeline.vae, prepare, 8, settings, self.cache)

    @property
    def _size(self) -> int:
        pipeline = self.pipeline
        return self.image_size or pipeline.unet.config.sample_size * pipeline.vae_scale_factor

    def batches(self, features: Latents, cell: Cell) -> Tensor:
        """Images of the concept in shuffled epochs."""
        own = [i for i, concept in enumerate(features.concepts) if concept == cell.concept]
        steps, batch = self.training.steps, self.training.batch_size
        return shuffled_epochs(own, steps * batch, batch_stream(cell)).view(steps, batch)

    def loss(
        self,
        vectors_NKD: Tensor,
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
        text_NLD = self.text.encode_words(self.template, vectors_NKD)
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
        stream = generator("denoising", cell.key, step)
        sample = torch.randn(batch, *shape, generator=stream)
        noise = torch.randn(batch, *shape, generator=stream)
        steps = self._noising.config.num_train_timesteps
        return sample, noise, torch.randint(steps, (batch,), generator=stream)

    @torch.no_grad()
    def measure(
        self, text_N: Tensor, dataset: Dataset, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Whether the judge ranks the target first among the dataset's concepts.

        The noise comes from dataset, concept and image number only, so that pictures of different
        words for a concept can be compared.
        """
        per_word = self.images_per_word
        streams = [
            generator("generation", dataset.name, concept, number)
            for concept in concepts
            for number in range(per_word)
        ]
        images = self.draw(text_N.repeat_interleave(per_word, dim=0), streams)
        best = self.judge.best(images, dataset.concepts)
        flagged = self.safety.flags(images) if self.safety else None
        results = []
        for n, concept in enumerate(concepts):
            mine = slice(n * per_word, (n + 1) * per_word)
            accuracy = best[mine].count(concept) / per_word
            results.append(
                Measurement(
                    {"generation_accuracy": accuracy},
                    per_word,
                    images[mine],
                    unsafe=any(flagged[mine]) if flagged else None,
                )
            )
        return results

    def apply(self, text_1LD: Tensor, images: Mapping[str, Image.Image], label: str) -> Applied:
        """`images_per_word` images, each from noise of its own number."""
        streams = [generator("apply", number) for number in range(self.images_per_word)]
        drawn = self.draw(text_1LD.repeat_interleave(len(streams), dim=0), streams)
        flagged = self.safety.flags(drawn) if self.safety else None
        words = {True: "unsafe", False: "safe", None: "not checked"}
        rows = [(str(n), words[flagged[n] if flagged else None]) for n in range(len(drawn))]
        return Applied(
            ("image", "safety checker"),
            rows,
            {f"{number}.png": image for number, image in enumerate(drawn)},
        )

    @torch.no_grad()
    def draw(self, text_NLD: Tensor, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream.

        Where memory runs out, half as many are drawn at once from then on.
        """
        images: list[Image.Image] = []
        while len(images) < len(streams):
            part = slice(len(images), len(images) + self._drawn_at_once)
            begun = [stream.get_state() for stream in streams[part]]
            try:
                images += self._draw_batch(text_NLD[part], streams[part])
            except torch.OutOfMemoryError:
                if len(begun) == 1:
                    raise
                self._drawn_at_once = len(begun) // 2
                for stream, state in zip(streams[part], begun, strict=True):
                    stream.set_state(state)
        return images

    def _draw_batch(
        self, text_NLD: Tensor, streams: Sequence[torch.Generator]
    ) -> list[Image.Image]:
        images: list[Image.Image] = self.pipeline(
            prompt_embeds=text_NLD,
            negative_prompt_embeds=self._nothing_1LD.expand(len(streams), -1, -1),
            height=self._size,
            width=self._size,
            num_inference_steps=self.denoising_steps,
            guidance_scale=self.guidance_scale,
            generator=list(streams),
        ).images
        return images

    @property
    def _nothing_1LD(self) -> Tensor:
        """The prompt that guidance leads away from, read by as many blocks as the word's is."""
        with torch.no_grad():
            return self.text.encode_text([""])


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what diffusers notes of where and how it was read."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@torch.no_grad()
def look(
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
