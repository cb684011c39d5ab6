"""A fourth task, as a user would add one: its model is a table, its loss a distance.

Its config: `_target_: quadratic.Quadratic`, `measured_by: quadratic.Closeness`.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.config.models import Training
from vwtransfer.datasets import Dataset
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import batch_stream, shuffled_epochs
from vwtransfer.models.text_encoder import Encoded, TextEncoder
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.tasks import Measurement
from vwtransfer.words.cells import Cell

WORDS = ("<start>", "<end>", "red</w>", "star</w>", "mipo</w>")


class Quadratic:
    """Pulls a word towards a point of its concept; the concept "cliff" has no loss after step 3."""

    trains_with: tuple[str, ...] = ()
    prompt_template = "a {}"

    def __init__(
        self,
        training: Training,
        device: torch.device,
        width: int = 6,
        name: str = "quadratic_model",
        task: str = "quadratic",
    ) -> None:
        self.name, self.task = name, task
        self.training = training
        self.device = device
        self.width = width

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        return {"text": self._vocabulary}

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        ids = {word: i for i, word in enumerate(WORDS)}

        def tokenize(text: str) -> list[int]:
            inner = [ids[f"{word}</w>"] for word in text.split() if f"{word}</w>" in ids]
            return [0, *inner, 1]

        return Vocabulary(ids, frozenset(WORDS[:2]), 12, tokenize, end_id=1, pad_id=1)

    @cached_property
    def text(self) -> EmbeddingSpace:
        table = torch.randn(len(WORDS), self.width, generator=torch.Generator().manual_seed(0))
        embedding = nn.Embedding.from_pretrained(table)
        text = TextEncoder(
            self._vocabulary,
            embedding,
            lambda ids, mask: Encoded(None, embedding(ids).mean(1)),
            only_pooled=True,
        )
        return EmbeddingSpace({"text": text})

    def features(self, dataset: Dataset) -> Tensor:
        return torch.linspace(-1, 1, 8)

    def batches(self, features: Tensor, cell: Cell) -> Tensor:
        steps, batch = self.training.steps, self.training.batch_size
        return shuffled_epochs(range(8), steps * batch, batch_stream(cell, self.task)).view(
            steps, batch
        )

    def loss(
        self,
        vectors_NKD: Tensor,
        features: Tensor,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        target_N11 = features[images_NB].mean(1)[:, None, None]
        loss_N = (vectors_NKD - target_N11).square().mean(dim=(1, 2))
        cliff = [cell.concept == "cliff" and step > 3 for cell in cells]
        return loss_N * torch.tensor([math.nan if over else 1.0 for over in cliff])


class Closeness:
    """How near an encoded word is to nothing."""

    name = "quadratic"
    metrics: tuple[str, ...] = ("closeness",)
    measured_with: tuple[str, ...] = ()

    def words_at_once(self, model: Any) -> int:
        return 4

    def chance(self, concepts: int) -> dict[str, float]:
        return {"closeness": 0.0}

    def held_out(self, model: Any, dataset: Dataset) -> None:
        return None

    def measure(
        self, model: Any, prompts: Prompts, held_out: Any, concepts: Sequence[str]
    ) -> list[Measurement]:
        pooled_NE = prompts.pooled_NE
        return [Measurement({"closeness": float(-row.norm())}, 1) for row in pooled_NE]
