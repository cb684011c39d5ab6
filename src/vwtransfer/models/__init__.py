"""Frozen models: one file for each family, its text encoders, and what is cached of images.

Letters: N words, K vectors per word, D width of the model's embedding space, B batch, M images,
R regions, E joint image-text width, L tokens, T boxes of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from vwtransfer.config.models import Training
from vwtransfer.datasets import Dataset
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.words.cells import Cell


class Objective(Protocol):
    """What a word is trained for: a frozen model that reads it, and a loss.

    Attributes:
        name: the model's, in the study.
        task: what it does.
        training: learning rate, steps and batch size.
        prompt_template: the prompt, `{}` where the word stands.
    """

    name: str
    task: str
    training: Training
    prompt_template: str

    @property
    def text(self) -> EmbeddingSpace:
        """The text encoders, in whose space its words lie; reading it loads the model."""
        ...

    def features(self, dataset: Dataset) -> Any:
        """All that training reads of the dataset's training images, computed once."""
        ...

    def batches(self, features: Any, cell: Cell) -> Tensor:
        """Which images [steps, B] the word of `cell` sees, from its own random stream."""
        ...

    def loss(
        self,
        words_NKD: Tensor,
        features: Any,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The loss [N] of each word on its own batch (table 1 of the paper).

        Args:
            words_NKD: the words.
            features: what `features` gave.
            images_NB: a row of `batches` for each word, or several rows side by side.
            cells: which words.
            step: of training, counted from 0; -1 of what decides when a word stops. Random numbers
                are of the word and the step.
        """
        ...


class Model(Objective, Protocol):
    """One frozen checkpoint of a study.

    It also has what its task measures words by (`tasks`): a generator draws, a detector detects, a
    classifier scores.

    Attributes:
        device: where it runs.
        trains_with: what training needs of a dataset: some of `datasets.BOXES`, `NEGATIVES`,
            `HELD_OUT`, `NAMES`.
    """

    device: torch.device
    trains_with: tuple[str, ...]

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """Each text encoder's tokenizer; reading it does not load the weights."""
        ...
