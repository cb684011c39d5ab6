"""When a word has learned what it can: a loss on fixed images and noise has stopped falling.

The training loss of a generator says little: each step has other times and noise. A loss with fixed
ones is deterministic (DVAR: Voronov et al., 2023, "Is this loss informative?", arXiv 2302.04841).
Where a check finds that it has not fallen, the word's steps become half as long; after `HALVINGS`
of them the word stops, and is what it was at its best check.

Each word is looked at alone, by batches of one shape, so that it stops at the same step whatever
trains beside it. A change of what follows changes words: `study.fingerprints.RECIPE` rises with it.

Letters: N words, K vectors per word, D embedding width, B batch, S steps.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

CHECKS = 20
"""In the most steps that a word may take."""
IMAGES = 8
"""That a check looks at, at least; with noise that no step of training has."""
HALVINGS = 3
LEAST_FALL = 0.002
"""Of the whole fall since the first check that counts as one."""
DIGITS = 5
"""Behind the point, that losses are compared in: sums differ in the last ones."""
CHECK = -1
"""The step that a check's noise is of."""


@dataclass
class Stopping:
    """What is known of N words in training.

    Attributes:
        first_N: losses at the first check.
        best_N, best_NKD: the least losses at checks, and the words that had them.
        halvings_N: how often steps were halved.
    """

    first_N: Tensor
    best_N: Tensor
    best_NKD: Tensor
    halvings_N: Tensor

    @classmethod
    def start(cls, words_NKD: Tensor) -> "Stopping":
        """Before the first check."""
        unknown_N = torch.full((len(words_NKD),), torch.inf, device=words_NKD.device)
        none_N = torch.zeros(len(words_NKD), device=words_NKD.device)
        return cls(unknown_N, unknown_N.clone(), words_NKD.detach().clone(), none_N)

    @property
    def rate_N(self) -> Tensor:
        """What steps are multiplied by."""
        return 0.5**self.halvings_N

    def check(self, words_NKD: Tensor, loss_N: Tensor) -> Tensor:
        """Which words [N] (bool) stop, of these losses; one that is not finite does."""
        loss_N = loss_N.float().round(decimals=DIGITS)
        first_N = torch.where(self.first_N.isinf(), loss_N, self.first_N)
        least_N = (first_N - self.best_N).clamp(min=0) * LEAST_FALL
        fell_N = loss_N < self.best_N - least_N
        better_N = loss_N < self.best_N
        self.halvings_N = self.halvings_N + (~fell_N).float()
        self.best_NKD = torch.where(better_N[:, None, None], words_NKD.detach(), self.best_NKD)
        self.best_N = torch.where(better_N, loss_N, self.best_N)
        self.first_N = first_N
        return (self.halvings_N > HALVINGS) | ~loss_N.isfinite()

    def tensors(self) -> dict[str, Tensor]:
        """All that is known, by the names of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def due(step: int, steps: int) -> bool:
    """Whether a check follows a step (counted from 1), of so many at most."""
    return step % max(1, steps // CHECKS) == 0 or step == steps


def images_of_checks(images_SNB: Tensor) -> Tensor:
    """The images [N, B'] of every check: the first whole batches that hold `IMAGES`."""
    batches = -(-IMAGES // images_SNB.shape[2])
    return images_SNB[:batches].transpose(0, 1).flatten(1)
