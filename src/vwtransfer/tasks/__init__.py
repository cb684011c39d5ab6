"""What a task is. Each file beside this one fills it in for one frozen model.

The trainer, the evaluator and the grid know no task by name: a fourth task is a class like
these and a config that names it.

Shapes: N words, K vectors per word, D embedding width, B batch, M images, R regions,
E joint image-text width, L tokens, T boxes of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import Training
from vwtransfer.datasets import Dataset, Example
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.seeds import generator
from vwtransfer.words.cells import Cell


@dataclass(frozen=True)
class Detected:
    """What a model found in one image.

    Attributes:
        example: the image, with what is annotated in it.
        box_T4: corners (x0, y0, x1, y1) in its pixels, the best first.
        score_T: their scores.
    """

    example: Example
    box_T4: Tensor
    score_T: Tensor


@dataclass(frozen=True)
class Measurement:
    """What one word reached in one model.

    Attributes:
        values: metric -> value.
        examples: images the values were measured on.
        images: what the model made of the word, where it makes images.
        unsafe: whether the safety checker flags any of them; None where it was not asked.
        detected: what it found in some of the images, where it finds things, for a person to see.
    """

    values: dict[str, float]
    examples: int
    images: list[Image.Image] = field(default_factory=list)
    unsafe: bool | None = None
    detected: list[Detected] = field(default_factory=list)


@dataclass(frozen=True)
class Applied:
    """What a person is shown of one word.

    Attributes:
        columns, rows: a table.
        pictures: file name -> what to look at.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    pictures: dict[str, Image.Image] = field(default_factory=dict)


class Objective(Protocol):
    """What a word is trained for: a frozen model that reads it, and a loss.

    Attributes:
        name: the task's name in configs and results.
        training: learning rate, steps and batch size.
        template: the prompt, `{}` where the word stands.
    """

    name: str
    training: Training
    template: str

    @property
    def text(self) -> TextEncoder:
        """The text encoder; reading it loads the model."""
        ...

    def features(self, dataset: Dataset) -> Any:
        """All that training reads of the dataset's training images, computed once."""
        ...

    def batches(self, features: Any, cell: Cell) -> Tensor:
        """Which images [steps, B] the word of `cell` sees, from its own random stream."""
        ...

    def loss(
        self,
        vectors_NKD: Tensor,
        features: Any,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The loss [N] of each word on its own batch (table 1 of the paper)."""
        ...


class Task(Objective, Protocol):
    """A frozen model, what a word is trained for in it, and how well a word does there.

    A task that also has `apply(text, images, label) -> Applied` can be tried with one word.

    Attributes:
        measured_at_once: words that `measure` best takes together.
    """

    measured_at_once: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `measure` reports, the headline first."""
        ...

    @property
    def trains_with(self) -> tuple[str, ...]:
        """What training needs of a dataset: some of `datasets.BOXES`, `NEGATIVES`, `HELD_OUT`."""
        ...

    @property
    def measured_with(self) -> tuple[str, ...]:
        """The same for `measure`."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer; reading it does not load the weights."""
        ...

    def chance(self, concepts: int) -> dict[str, float]:
        """Metrics of a random guess among `concepts`, where that is known without measuring."""
        ...

    def measure(
        self, text_N: Tensor, dataset: Dataset, concepts: Sequence[str]
    ) -> list[Measurement]:
        """How well each encoded prompt does, on held-out images, for the concept beside it."""
        ...


def shuffled_epochs(images: Sequence[int], count: int, stream: torch.Generator) -> Tensor:
    """`count` indices drawn from `images` the way a shuffling data loader goes through them."""
    pool = torch.tensor(list(images))
    epochs = -(-count // len(pool))
    order = [torch.randperm(len(pool), generator=stream) for _ in range(epochs)]
    return pool[torch.cat(order)[:count]]


def batch_stream(cell: Cell) -> torch.Generator:
    """The random stream that decides which images a word sees."""
    return generator("batches", cell.key)


def training_examples(dataset: Dataset) -> list[Example]:
    """The training images of all concepts, in the dataset's order."""
    return [example for concept in dataset.concepts for example in dataset.training(concept)]


def held_out_examples(dataset: Dataset) -> list[Example]:
    """The held-out images of all concepts, in the dataset's order."""
    return [example for concept in dataset.concepts for example in dataset.held_out(concept)]
