"""Words trained in two models at once: as they are in their own, through a map in the other.

An upper bound for transfers by that map, and no transfer, as the other model's images are used:
where such a word fails too, no way of training can make it pass through the map.

Letters: N words, K vectors per word, D embedding width, B batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.models import Objective
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.transfer import Map
from vwtransfer.words.cells import Cell


class Joint:
    """The sum of a word's loss in its own model and of its image's in another.

    Args:
        own: the model that the word is trained for; all but the loss is its.
        other: the model that sees the word through the map.
        transfer: from the space of `own` into that of `other`.

    Raises:
        UserError: the map gives no gradient, as one that searches does not.
    """

    def __init__(self, own: Objective, other: Objective, transfer: Map) -> None:
        self.own, self.other, self.map = own, other, transfer
        self.name, self.task = own.name, own.task
        self.training, self.prompt_template = own.training, own.prompt_template
        probe_NKD = torch.zeros(1, 1, own.text.width, requires_grad=True)
        try:
            has_gradient = transfer(probe_NKD, None).requires_grad
        except RuntimeError:  # of one that searches by gradient itself, or leaves torch
            has_gradient = False
        if not has_gradient:
            raise UserError(
                "trainer.joint_model: words are trained through a map that is a function with a "
                "gradient, such as transfer=least_squares; this one is none."
            )

    @property
    def text(self) -> EmbeddingSpace:
        """The text encoder of its own model."""
        return self.own.text

    def features(self, dataset: Dataset) -> tuple[Any, Any]:
        """What training reads of the images in each model."""
        return self.own.features(dataset), self.other.features(dataset)

    def batches(self, features: tuple[Any, Any], cell: Cell) -> Tensor:
        """Images of its own, then those of the other model, [steps, B + B']."""
        steps = self.training.steps
        own_SB = self.own.batches(features[0], cell)
        other_SB = self.other.batches(features[1], cell)
        epochs = -(-steps // len(other_SB))
        return torch.cat([own_SB, other_SB.repeat(epochs, 1)[:steps]], dim=1)

    def loss(
        self,
        words_NKD: Tensor,
        features: tuple[Any, Any],
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The two losses [N], added."""
        own_NB, other_NB = images_NB.split(
            [self.training.batch_size, images_NB.shape[1] - self.training.batch_size], dim=1
        )
        own_N = self.own.loss(words_NKD, features[0], own_NB, cells, step)
        mapped_NKD = self.map(words_NKD, [cell.anchor for cell in cells])
        return own_N + self.other.loss(mapped_NKD, features[1], other_NB, cells, step)
