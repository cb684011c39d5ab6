"""A fourth task, as a user would add one: its model is a table, its loss a distance."""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from vwtransfer.config import Training
from vwtransfer.datasets import Dataset
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.tasks import Measurement, batch_stream, shuffled_epochs
from vwtransfer.words.cells import Cell

WORDS = ("<start>", "<end>", "red</w>", "star</w>", "mipo</w>")


class Quadratic:
    """Pulls a word towards a point of its concept; the concept "cliff" has no loss after step 3."""

    name = "quadratic"
    metrics = ("closeness",)
    trains_with: tuple[str, ...] = ()
    measured_with: tuple[str, ...] = ()
    measured_at_once = 4
    template = "a {}"

    def __init__(self, training: Training, device: torch.device, width: int = 6) -> None:
        self.training = training
        self.device = device
        self.width = width

    @cached_property
    def vocabulary(self) -> Vocabulary:
        ids = {word: i for i, word in enumerate(WORDS)}

        def tokenize(text: str) -> list[int]:
            inner = [ids[f"{word}</w>"] for word in text.split() if f"{word}</w>" in ids]
            return [0, *inner, *[1] * (12 - len(inner))]

        return Vocabulary(ids, frozenset(WORDS[:2]), 1, 12, tokenize)

    @cached_property
    def text(self) -> TextEncoder:
        table = torch.randn(len(WORDS), self.width, generator=torch.Generator().manual_seed(0))
        embedding = nn.Embedding.from_pretrained(table)
        return TextEncoder(
            self.vocabulary, embedding, lambda ids: embedding(ids).mean(1), pooled=True
        )

    def chance(self, concepts: int) -> dict[str, float]:
        return {"closeness": 0.0}

    def features(self, dataset: Dataset) -> Tensor:
        return torch.linspace(-1, 1, 8)

    def batches(self, features: Tensor, cell: Cell) -> Tensor:
        steps, batch = self.training.steps, self.training.batch_size
        return shuffled_epochs(range(8), steps * batch, batch_stream(cell)).view(steps, batch)

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

    def measure(
        self, text_N: Tensor, dataset: Dataset, concepts: Sequence[str]
    ) -> list[Measurement]:
        return [Measurement({"closeness": float(-row.norm())}, 1) for row in text_N]
