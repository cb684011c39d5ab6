"""A map for each vector from the words around it.

Each vector is written as a weighted sum of its nearest words, with weights that sum to one, and the
same sum is taken in the target's table: the reconstruction step of locally linear embedding (Roweis
and Saul, "Nonlinear dimensionality reduction by locally linear embedding", 2000).

Letters: S support, J neighbours, M vectors, D embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vwtransfer.transfer.tables import TableMethod, VectorMap


@dataclass(frozen=True)
class LocalMap(VectorMap):
    """The tables y_SD, x_SD (float64) and how a vector is written by its neighbours."""

    y_SD: Tensor
    x_SD: Tensor
    neighbours: int
    ridge_alpha: float
    report: Mapping[str, Any]

    def vectors(self, vectors_MD: Tensor) -> Tensor:
        """Each vector by its own neighbours."""
        index_MJ = torch.cdist(vectors_MD, self.y_SD).topk(self.neighbours, largest=False).indices
        offset_MJD = self.y_SD[index_MJ] - vectors_MD[:, None]
        gram_MJJ = offset_MJD @ offset_MJD.mT
        trace_M = gram_MJJ.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-300)
        eye_JJ = torch.eye(self.neighbours, dtype=torch.float64)
        gram_MJJ = gram_MJJ + (self.ridge_alpha * trace_M)[:, None, None] * eye_JJ
        weight_MJ = torch.linalg.solve(gram_MJJ, torch.ones(index_MJ.shape, dtype=torch.float64))
        weight_MJ /= weight_MJ.sum(dim=1, keepdim=True)
        return torch.einsum("mj,mjd->md", weight_MJ, self.x_SD[index_MJ])


@dataclass
class LocalLinear(TableMethod):
    """Locally linear: weights by the nearest words of the source, the same sum in the target.

    Attributes:
        name: what the results call it.
        neighbours: J, how many words a vector is written by (at most the support).
        ridge_alpha: of the ridge on the weights, in units of the trace of their Gram matrix.
    """

    name: str = "local_linear"
    neighbours: int = 50
    ridge_alpha: float = 1e-3

    def fit_rows(self, y_SD: np.ndarray, x_SD: np.ndarray) -> LocalMap:
        """Keeps the two tables."""
        neighbours = min(self.neighbours, len(y_SD))
        report = {"tokens": len(y_SD), "neighbours": neighbours}
        y, x = torch.from_numpy(y_SD), torch.from_numpy(x_SD)
        return LocalMap(y, x, neighbours, self.ridge_alpha, report)
