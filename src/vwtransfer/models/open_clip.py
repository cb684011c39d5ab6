"""open_clip's CLIPs: how well a prompt fits an image is the cosine of their features.

Letters: N words, K vectors per word, D embedding width, B batch, M images, E joint width, L tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.datasets import NEGATIVES, Dataset, Example, training_examples
from vwtransfer.models.cache import Cache, ImageEncoder
from vwtransfer.models.checkpoints import freeze, hub_folder
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen, batch_stream, shuffled_epochs
from vwtransfer.models.open_clip_text import text_blocks, text_forward, token_embedding
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_open_clip
from vwtransfer.words.cells import Cell

WEIGHTS = (  # the preferred one first
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
FILES = (("open_clip_config.json",), WEIGHTS[::-1])  # the one that every repository has first


@dataclass(frozen=True)
class ImageFeatures:
    """Unit image features [M, E], and which concept each image was chosen for."""

    image_ME: Tensor
    concepts: list[str]

    def of(self, concept: str) -> list[int]:
        """The images that were chosen for a concept."""
        return [i for i, c in enumerate(self.concepts) if c == concept]

    def not_of(self, concept: str) -> list[int]:
        """The others."""
        return [i for i, c in enumerate(self.concepts) if c != concept]


class OpenClip(Frozen):
    """A classifier that words are learned in.

    Args:
        settings: see `config.models.OpenClip`.
        device: where it runs.
        cache: keeps the features of images; None: every process computes them.
    """

    trains_with: tuple[str, ...] = (NEGATIVES,)

    def __init__(
        self, settings: config.OpenClip, device: torch.device, cache: Cache | None = None
    ) -> None:
        super().__init__(settings, device, cache, FILES)
        self.settings = settings

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoint lies; open_clip's own hub schema knows no revision."""
        with self.checkpoint.loading():
            return hub_folder(self.checkpoint, WEIGHTS)

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The tokenizer."""
        return {"text": self._vocabulary}

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        import open_clip

        with self.checkpoint.loading():
            tokenizer = open_clip.get_tokenizer(f"local-dir:{self.folder}")
            return of_open_clip(tokenizer, tokenizer.context_length)

    @cached_property
    def _model_and_transform(self) -> tuple[Any, Any]:
        import open_clip

        with self.checkpoint.loading():
            model, transform = open_clip.create_model_from_pretrained(
                f"local-dir:{self.folder}", precision="fp32", device="cpu", weights_only=True
            )
        model.to(self.dtype)
        freeze(model, self.device)
        return model, transform

    @property
    def model(self) -> Any:
        """The open_clip model, frozen."""
        return self._model_and_transform[0]

    @property
    def transform(self) -> Any:
        """What open_clip makes a tensor of an image with."""
        return self._model_and_transform[1]

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The text tower, read at the end of the text."""
        with self.checkpoint.loading():
            forward = text_forward(self.model, self.settings.compiled)
        embedding, blocks = token_embedding(self.model), text_blocks(self.model)
        text = TextEncoder(self._vocabulary, embedding, forward, only_pooled=True, blocks=blocks)
        return EmbeddingSpace({"text": text}, self.support, self.name)

    def features(self, dataset: Dataset) -> ImageFeatures:
        """Of the training images."""
        return self.encode_images(training_examples(dataset))

    def batches(self, features: ImageFeatures, cell: Cell) -> Tensor:
        """Half target images, half images of the other concepts, each in shuffled epochs."""
        stream, steps = batch_stream(cell, self.task), self.training.steps
        own = self._targets_in_batch
        others = self.training.batch_size - own
        target = shuffled_epochs(features.of(cell.concept), steps * own, stream)
        other = shuffled_epochs(features.not_of(cell.concept), steps * others, stream)
        return torch.cat([target.view(steps, own), other.view(steps, others)], dim=1)

    @property
    def _targets_in_batch(self) -> int:
        return max(1, round(self.training.batch_size * self.settings.target_share))

    def loss(
        self,
        words_NKD: Tensor,
        features: ImageFeatures,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """W cos(image(I), text(v)), w = -1 for target images and +1 for others (table 1)."""
        text_NE = self.text.encode_words(self.prompt_template, words_NKD).pooled_NE.float()
        cosine_NB = torch.einsum("ne,nbe->nb", text_NE, features.image_ME[images_NB])
        own = self._targets_in_batch
        sign_B = torch.ones(cosine_NB.shape[1], device=cosine_NB.device)
        sign_B[:own] = -1
        return (sign_B * cosine_NB).mean(dim=1)

    def encode_images(self, examples: Sequence[Example]) -> ImageFeatures:
        """Unit features of the examples' images."""
        parts = [tensors["image_ME"] for tensors in self._image_encoder.batches(examples)]
        return ImageFeatures(torch.cat(parts), [example.concept for example in examples])

    def encode_image(self, image: Image.Image) -> ImageFeatures:
        """Of one image, which is not cached."""
        return ImageFeatures(encode_images(self.model, self.transform, [image])["image_ME"], [""])

    def score(self, prompts: Prompts, images: ImageFeatures) -> Tensor:
        """How well each of N prompts fits each of M images: cosines [N, M]."""
        return prompts.pooled_NE.float() @ images.image_ME.T

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        stated = (self.folder / "open_clip_config.json").read_text(encoding="utf-8")
        return ImageEncoder(
            encode_images, self.model, self.transform, 32, (stated, self.transform), self.cache
        )


@torch.no_grad()
def encode_images(model: Any, transform: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Unit features "image_ME" of images, float32.

    Args:
        model: an open_clip CLIP.
        transform: its own, that makes a tensor of an image.
        images: M images of any sizes.
    """
    weight = token_embedding(model).weight
    pixels = torch.stack([transform(image) for image in images]).to(weight.device, weight.dtype)
    return {"image_ME": model.encode_image(pixels, normalize=True).float()}
