"""A map for each vector from the words around it.

Each vector is written as a weighted sum of its nearest words, with weights that sum to one, and the
same sum is taken in the target's table: the reconstruction step of locally linear embedding (Roweis
and Saul, "Nonlinear dimensionality reduction by locally linear embedding", 2000).

Letters: S support, J neighbours, M vectors, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.tables import tables


@dataclass(frozen=True)
class LocalMap:
    """The tables y_SD, x_SD (float64) and how a vector is written by its neighbours."""

    y_SD: Tensor
    x_SD: Tensor
    neighbours: int
    ridge_alpha: float
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], each vector by its own neighbours."""
        vectors_MD = words_NKD.flatten(0, 1).double().cpu()
        index_MJ = torch.cdist(vectors_MD, self.y_SD).topk(self.neighbours, largest=False).indices
        offset_MJD = self.y_SD[index_MJ] - vectors_MD[:, None]
        gram_MJJ = offset_MJD @ offset_MJD.mT
        trace_M = gram_MJJ.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-300)
        eye_JJ = torch.eye(self.neighbours, dtype=torch.float64)
        gram_MJJ = gram_MJJ + (self.ridge_alpha * trace_M)[:, None, None] * eye_JJ
        weight_MJ = torch.linalg.solve(gram_MJJ, torch.ones(index_MJ.shape, dtype=torch.float64))
        weight_MJ /= weight_MJ.sum(dim=1, keepdim=True)
        mapped_MD = torch.einsum("mj,mjd->md", weight_MJ, self.x_SD[index_MJ])
        return mapped_MD.unflatten(0, words_NKD.shape[:2]).to(words_NKD)


@dataclass
class LocalLinear:
    """Locally linear: weights by the nearest words of the source, the same sum in the target.

    Attributes:
        name: what the results call it.
        neighbours: J, how many words a vector is written by (at most the support).
        ridge_alpha: of the ridge on the weights, in units of the trace of their Gram matrix.
    """

    name: str = "local_linear"
    neighbours: int = 50
    ridge_alpha: float = 1e-3

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> LocalMap:
        """Keeps the two tables; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        tokens, y_SD, x_SD = tables(source, target, support)
        neighbours = min(self.neighbours, len(tokens))
        report = {"tokens": len(tokens), "neighbours": neighbours}
        y, x = torch.from_numpy(y_SD), torch.from_numpy(x_SD)
        return LocalMap(y, x, neighbours, self.ridge_alpha, report)
