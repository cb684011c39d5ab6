"""Classification: a CLIP tells which of ten concepts an image shows.

Shapes: N words, K vectors per word, D embedding width, B batch, M images, E joint width,
C concepts, L tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import Training
from vwtransfer.datasets import HELD_OUT, NEGATIVES, Dataset, Example
from vwtransfer.errors import UserError
from vwtransfer.models.cache import Cache, Encoder
from vwtransfer.models.checkpoints import Checkpoint, freeze, hub_folder
from vwtransfer.models.open_clip_text import text_blocks, text_forward, token_embedding
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_open_clip
from vwtransfer.tasks import (
    Applied,
    Measurement,
    batch_stream,
    held_out_examples,
    shuffled_epochs,
    training_examples,
)
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
        return [i for i, c in enumerate(self.concepts) if c == concept]

    def not_of(self, concept: str) -> list[int]:
        return [i for i, c in enumerate(self.concepts) if c != concept]


@dataclass(frozen=True)
class HeldOut:
    """What metrics are measured on: images, and the features [C, E] of the concepts' names."""

    dataset: Dataset
    images: ImageFeatures
    names_CE: Tensor


class Classification:
    """A word that makes an open_clip CLIP recognise a concept.

    Args:
        checkpoint: folder with open_clip_config.json and weights, or a hub id.
        revision: of the hub's repository; None for its main branch.
        dtype: precision of the frozen model, such as "float32".
        device: where it runs.
        compiled: whether torch compiles the text tower's blocks, at their first use.
        template: the prompt, `{}` where the word stands.
        training: learning rate, steps and batch size.
        target_share: share of target images in a batch.
        cache: keeps the features of images; None: every process computes them.
    """

    name = "classification"
    metrics = ("classifier_accuracy", "classifier_balanced_accuracy")
    measured_at_once = 1024
    trains_with = (NEGATIVES,)
    measured_with = (NEGATIVES, HELD_OUT)

    def __init__(
        self,
        checkpoint: str,
        dtype: str,
        device: torch.device,
        template: str,
        training: Training,
        target_share: float,
        revision: str | None = None,
        compiled: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.checkpoint = Checkpoint("model.classification", checkpoint, revision, FILES)
        self.dtype = dtype
        self.device = device
        self.compiled = compiled
        self.template = template
        self.training = training
        self.target_share = target_share
        self.cache = cache
        self._latest: HeldOut | None = None

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoint lies; open_clip's own hub schema knows no revision."""
        with self.checkpoint.loading():
            return hub_folder(self.checkpoint, WEIGHTS)

    @cached_property
    def vocabulary(self) -> Vocabulary:
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
        model.to(getattr(torch, self.dtype))
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
    def text(self) -> TextEncoder:
        with self.checkpoint.loading():
            forward = text_forward(self.model, self.compiled)
        embedding, blocks = token_embedding(self.model), text_blocks(self.model)
        return TextEncoder(self.vocabulary, embedding, forward, pooled=True, blocks=blocks)

    def chance(self, concepts: int) -> dict[str, float]:
        return {"classifier_accuracy": 1 / concepts, "classifier_balanced_accuracy": 0.5}

    def features(self, dataset: Dataset) -> ImageFeatures:
        return self._encode_images(training_examples(dataset))

    def batches(self, features: ImageFeatures, cell: Cell) -> Tensor:
        """Half target images, half images of the other concepts, each in shuffled epochs."""
        stream, steps = batch_stream(cell), self.training.steps
        own = self._targets_in_batch
        others = self.training.batch_size - own
        target = shuffled_epochs(features.of(cell.concept), steps * own, stream)
        other = shuffled_epochs(features.not_of(cell.concept), steps * others, stream)
        return torch.cat([target.view(steps, own), other.view(steps, others)], dim=1)

    @property
    def _targets_in_batch(self) -> int:
        return max(1, round(self.training.batch_size * self.target_share))

    def loss(
        self,
        vectors_NKD: Tensor,
        features: ImageFeatures,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """W cos(image(I), text(v)), w = -1 for target images and +1 for others (table 1)."""
        text_NE = self.text.encode_words(self.template, vectors_NKD).float()
        cosine_NB = torch.einsum("ne,nbe->nb", text_NE, features.image_ME[images_NB])
        own = self._targets_in_batch
        sign_B = torch.ones(cosine_NB.shape[1], device=cosine_NB.device)
        sign_B[:own] = -1
        return (sign_B * cosine_NB).mean(dim=1)

    def measure(
        self, text_N: Tensor, dataset: Dataset, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Ten-way: the word stands for the target, the other concepts go by their names."""
        held_out = self._held_out(dataset)
        images, order = held_out.images, list(dataset.concepts)
        labels_M = torch.tensor([order.index(c) for c in images.concepts], device=self.device)
        by_name_MC = images.image_ME @ held_out.names_CE.T
        # a word that cannot be read, as one beyond float16's range, claims nothing
        by_word_MN = (images.image_ME @ text_N.float().T).nan_to_num(nan=-torch.inf)
        results = []
        for n, concept in enumerate(concepts):
            column = order.index(concept)
            scores_MC = by_name_MC.clone()
            scores_MC[:, column] = by_word_MN[:, n]
            claimed_M = scores_MC.argmax(dim=1) == column
            own_M = labels_M == column
            recall = claimed_M[own_M].float().mean().item()
            rejected = 1 - claimed_M[~own_M].float().mean().item()
            results.append(
                Measurement(
                    {
                        "classifier_accuracy": recall,
                        "classifier_balanced_accuracy": (recall + rejected) / 2,
                    },
                    examples=int(own_M.sum()),
                )
            )
        return results

    def apply(self, text_1E: Tensor, images: Mapping[str, Image.Image], label: str) -> Applied:
        """The images in the order in which the word fits them."""
        if not images:
            raise UserError("task=classification: name images to rank with images=PATH.")
        image_ME = look(self.model, self.transform, list(images.values()))["image_ME"]
        cosine_M = (image_ME @ text_1E[0].float()).tolist()
        ranked = sorted(zip(cosine_M, images, strict=True), reverse=True)
        rows = [(str(i), name, f"{cosine:.4f}") for i, (cosine, name) in enumerate(ranked, 1)]
        return Applied(("place", "image", f"cosine with {label}"), rows)

    def _held_out(self, dataset: Dataset) -> HeldOut:
        if self._latest is None or self._latest.dataset is not dataset:
            prompts = [self.template.format(name) for name in dataset.concepts.values()]
            with torch.no_grad():
                names_CE = self.text.encode_text(prompts).float()
            images = self._encode_images(held_out_examples(dataset))
            self._latest = HeldOut(dataset, images, names_CE)
        return self._latest

    def _encode_images(self, examples: Sequence[Example]) -> ImageFeatures:
        parts = [tensors["image_ME"] for tensors in self._eye.batches(examples)]
        return ImageFeatures(torch.cat(parts), [example.concept for example in examples])

    @cached_property
    def _eye(self) -> Encoder:
        config = (self.folder / "open_clip_config.json").read_text(encoding="utf-8")
        return Encoder(look, self.model, self.transform, 32, (config, self.transform), self.cache)


@torch.no_grad()
def look(model: Any, transform: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Unit features "image_ME" of images, float32.

    Args:
        model: an open_clip CLIP.
        transform: its own, that makes a tensor of an image.
        images: M images of any sizes.
    """
    weight = token_embedding(model).weight
    pixels = torch.stack([transform(image) for image in images]).to(weight.device, weight.dtype)
    return {"image_ME": model.encode_image(pixels, normalize=True).float()}
