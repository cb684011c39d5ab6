"""Each vector as a sparse sum of shared tokens, the same sum in the target.

Goddard and Fernandes Neto, "Training-free tokenizer transplantation via orthogonal matching
pursuit", 2025 (arXiv 2506.06607): coefficients of few tokens are found in the one table by
orthogonal matching pursuit and used in the other.

Letters: S support, M vectors, D embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import orthogonal_mp
from torch import Tensor

from vwtransfer.transfer.tables import TableMethod, VectorMap


@dataclass(frozen=True)
class PursuitMap(VectorMap):
    """The tables, each row divided by its length in the source, and how many rows make a vector."""

    unit_SD: np.ndarray
    x_SD: np.ndarray
    atoms: int
    report: Mapping[str, Any]

    def vectors(self, vectors_MD: Tensor) -> Tensor:
        """Each vector by its own tokens."""
        y_DM = vectors_MD.numpy().T
        weight_SM = orthogonal_mp(self.unit_SD.T, y_DM, n_nonzero_coefs=self.atoms)
        return torch.from_numpy(weight_SM.reshape(len(self.x_SD), -1).T @ self.x_SD)


@dataclass
class MatchingPursuit(TableMethod):
    """A sparse sum of tokens, by orthogonal matching pursuit.

    Attributes:
        name: what the results call it.
        atoms: how many tokens make a vector (at most the support and the source's width).
    """

    name: str = "matching_pursuit"
    atoms: int = 8

    def fit_rows(self, y_SD: np.ndarray, x_SD: np.ndarray) -> PursuitMap:
        """Keeps the two tables."""
        length_S1 = np.linalg.norm(y_SD, axis=1, keepdims=True).clip(min=1e-300)
        atoms = min(self.atoms, *y_SD.shape)
        report = {"tokens": len(y_SD), "atoms": atoms}
        return PursuitMap(y_SD / length_S1, x_SD / length_S1, atoms, report)
