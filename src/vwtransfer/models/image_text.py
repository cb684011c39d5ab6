"""Classifiers by prompts: a prompt fits an image as well as their features are alike.

Letters: N words, K vectors per word, D embedding width, B batch, M images, E joint width.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vwtransfer.config.models import ImageText
from vwtransfer.datasets import NEGATIVES, Dataset, Example, training_examples
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen, batch_stream, shuffled_epochs
from vwtransfer.words.cells import Cell

IMAGES_AT_ONCE = 32


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


class Sigmoid(NamedTuple):
    """sigmoid(scale * cosine + bias) is the probability that a prompt and an image belong."""

    scale: Tensor
    bias: Tensor


class ImageTextModel(Frozen):
    """A classifier that words are learned in."""

    settings: ImageText
    trains_with: tuple[str, ...] = (NEGATIVES,)

    @property
    @abstractmethod
    def text(self) -> EmbeddingSpace:
        """The text tower, which gives one unit feature of each prompt."""

    @property
    @abstractmethod
    def _image_encoder(self) -> ImageEncoder:
        """What gives unit features "image_ME" of images, float32."""

    @property
    @abstractmethod
    def sigmoid(self) -> Sigmoid | None:
        """What it was trained to make of a cosine; None: it ranks cosines."""

    @property
    def similarity_name(self) -> str:
        """What `score` gives."""
        return "cosine" if self.sigmoid is None else "logit"

    def similarity(self, cosine: Tensor) -> Tensor:
        """What the model ranks by: the cosine, or the logit of a model with a sigmoid."""
        if self.sigmoid is None:
            return cosine
        return self.sigmoid.scale * cosine + self.sigmoid.bias

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
        """W cos(image(I), text(v)), w = -1 for target images, +1 for others (table 1).

        With a sigmoid it is minus the log likelihood of what belongs to the word and what does not,
        -log sigmoid(-w logit(I, v)), in which the logit stands in the cosine's place.
        """
        text_NE = self.text.encode_words(self.prompt_template, words_NKD).pooled_NE.float()
        cosine_NB = torch.einsum("ne,nbe->nb", text_NE, features.image_ME[images_NB])
        sign_B = torch.ones(self.training.batch_size, device=cosine_NB.device)
        sign_B[: self._targets_in_batch] = -1
        sign_B = sign_B.repeat(cosine_NB.shape[1] // len(sign_B))  # images may be several batches
        signed_NB = sign_B * self.similarity(cosine_NB)
        return (signed_NB if self.sigmoid is None else F.softplus(signed_NB)).mean(dim=1)

    def encode_images(self, examples: Sequence[Example]) -> ImageFeatures:
        """Unit features of the examples' images."""
        parts = [tensors["image_ME"] for tensors in self._image_encoder.batches(examples)]
        return ImageFeatures(torch.cat(parts), [example.concept for example in examples])

    def encode_image(self, image: Image.Image) -> ImageFeatures:
        """Of one image, which is not cached."""
        return ImageFeatures(self._image_encoder.encode([image])["image_ME"], [""])

    def score(self, prompts: Prompts, images: ImageFeatures) -> Tensor:
        """How well each of N prompts fits each of M images: similarities [N, M]."""
        return self.similarity(prompts.pooled_NE.float() @ images.image_ME.T)
