"""The floor: each vector becomes the vocabulary word nearest to it, a hard prompt.

The projection step of Wen et al., "Hard prompts made easy", 2023, without their search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support


@dataclass(frozen=True)
class NearestMap:
    """Rows of the support in both tables, y_SD and x_SD; `cutoff` as of `NearestWords`."""

    y_SD: Tensor
    x_SD: Tensor
    cutoff: float | None
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as rows [N, K, D_target] of the target's table."""
        unit_SD = F.normalize(self.y_SD, dim=-1).to(words_NKD)
        cosine_NKS = F.normalize(words_NKD, dim=-1) @ unit_SD.T
        best_NK, place_NK = cosine_NKS.max(dim=-1)
        found_NKD = self.x_SD.to(words_NKD)[place_NK]
        if self.cutoff is None:
            return found_NKD
        nothing_D = self.x_SD.mean(dim=0).to(words_NKD)
        return torch.where((best_NK >= self.cutoff)[..., None], found_NKD, nothing_D)


@dataclass
class NearestWords:
    """Each vector goes to the word of greatest cosine, and that word's row in the target is taken.

    Attributes:
        name: what the results call it.
        cutoff: a vector whose greatest cosine is less becomes the mean of the target's rows; None:
            none does.
    """

    name: str = "nearest_words"
    cutoff: float | None = None

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> NearestMap:
        """Keeps the two tables; no prompt enters it."""
        tokens = support.sorted()
        rows = source.token_rows(tokens), target.token_rows(tokens)
        return NearestMap(*rows, self.cutoff, {"tokens": len(tokens)})
