"""Relative representations, decoded by search: zero-shot continuous prompt transfer.

Moschella et al., "Relative representations enable zero-shot latent space communication", 2023: a
vector is described by its cosines with anchors, here the shared tokens. Wu et al., "Zero-shot
continuous prompt transfer", 2024: only the largest cosines are kept, and vectors of the target
model, held to the mean and deviation of its own table, are searched whose cosines with the same
words agree. Wu et al. choose among the steps of the search by validation examples; here, without
any, the last step is taken.

Letters: N words, K vectors per word, M = N K vectors, D embedding width, S support.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.seeds import generator
from vwtransfer.transfer.tables import tables


@dataclass(frozen=True)
class RelativeMap:
    """Unit rows of the anchors in both tables, and how vectors are searched for."""

    y_SD: Tensor
    x_SD: Tensor
    mean: float
    deviation: float
    kept: int
    steps: int
    learning_rate: float
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], each vector searched for on its own."""
        x_SD = self.x_SD
        vectors_MD = words_NKD.flatten(0, 1).to(self.y_SD)
        cosine_MS = F.normalize(vectors_MD, dim=-1) @ self.y_SD.T
        index_MS = cosine_MS.topk(self.kept, dim=-1).indices
        relative_MS = cosine_MS.gather(1, index_MS)
        # every vector starts at the same place, so that none depends on those beside it
        start_D = torch.randn(x_SD.shape[1], generator=generator("relative")).to(x_SD)
        found_MD = start_D.repeat(len(cosine_MS), 1).requires_grad_()
        optimiser = torch.optim.Adam([found_MD], lr=self.learning_rate)
        for _ in range(self.steps):
            with torch.enable_grad():
                cosines_MS = F.normalize(self._held(found_MD), dim=-1) @ x_SD.T
                agreement_M = F.cosine_similarity(
                    cosines_MS.gather(1, index_MS), relative_MS, dim=-1
                )
                optimiser.zero_grad()
                (-agreement_M).sum().backward()
            optimiser.step()
        mapped_MD = self._held(found_MD.detach())
        return mapped_MD.unflatten(0, words_NKD.shape[:2]).to(words_NKD)

    def _held(self, found_MD: Tensor) -> Tensor:
        """Vectors moved and scaled to the mean and deviation of the target's table."""
        deviation_M1, mean_M1 = torch.std_mean(found_MD, dim=-1, keepdim=True)
        return (found_MD - mean_M1) / deviation_M1 * self.deviation + self.mean


@dataclass
class Relative:
    """Cosines with the shared tokens, decoded by a search in the target's space.

    Attributes:
        name: what the results call it.
        kept: how many of a vector's largest cosines count (at most the support).
        steps: of Adam, for each vector.
        learning_rate: of Adam.
    """

    name: str = "relative"
    kept: int = 8192
    steps: int = 500
    learning_rate: float = 0.05

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> RelativeMap:
        """Takes the anchors from both tables; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        tokens, y_SD, x_SD = tables(source, target, support)
        device = target.device
        y, x = (torch.from_numpy(table).float().to(device) for table in (y_SD, x_SD))
        deviation, mean = torch.std_mean(x)
        kept = min(self.kept, len(tokens))
        return RelativeMap(
            F.normalize(y, dim=-1),
            F.normalize(x, dim=-1),
            float(mean),
            float(deviation),
            kept,
            self.steps,
            self.learning_rate,
            {"tokens": len(tokens), "kept": kept},
        )
