"""What a study tells of its work while it goes on.

Trainer and evaluator are given single methods of these as plain callables; only a study knows all.
"""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.tasks import Measurement
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell


class Callbacks:
    """Who is told; this one listens to nothing. No method may raise or wait.

    Attributes:
        outcome: a line for the person once all is over; empty where there is nothing to say.
    """

    outcome = ""

    def step(self, batch: WordBatch, loss_N: Tensor) -> None:
        """A step of training was done: the batch after it, and the losses it stepped on."""

    def settled(self, cells: Sequence[Cell]) -> None:
        """These words are finished or have failed; the store says which."""

    def measured(self, specs: Sequence[EvalSpec], measurements: Sequence[Measurement]) -> None:
        """These rows are written."""

    def conclude(self, rows: pd.DataFrame | None) -> None:
        """All is trained and measured; rows of the results, at least all of these cells."""
