"""Each vector as a sparse sum of shared tokens, the same sum in the target.

Goddard and Fernandes Neto, "Training-free tokenizer transplantation via orthogonal matching
pursuit", 2025 (arXiv 2506.06607): coefficients of few tokens are found in the one table by
orthogonal matching pursuit and used in the other.

Letters: S support, M vectors, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import orthogonal_mp
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.tables import tables


@dataclass(frozen=True)
class PursuitMap:
    """The tables, each row divided by its length in the source, and how many rows make a vector."""

    unit_SD: np.ndarray
    x_SD: np.ndarray
    atoms: int
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], each vector by its own tokens."""
        vectors_MD = words_NKD.flatten(0, 1).double().cpu().numpy()
        weight_SM = orthogonal_mp(self.unit_SD.T, vectors_MD.T, n_nonzero_coefs=self.atoms)
        mapped_MD = torch.from_numpy(weight_SM.reshape(len(self.x_SD), -1).T @ self.x_SD)
        return mapped_MD.unflatten(0, words_NKD.shape[:2]).to(words_NKD)


@dataclass
class MatchingPursuit:
    """A sparse sum of tokens, by orthogonal matching pursuit.

    Attributes:
        name: what the results call it.
        atoms: how many tokens make a vector (at most the support and the source's width).
    """

    name: str = "matching_pursuit"
    atoms: int = 8

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> PursuitMap:
        """Keeps the two tables; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        tokens, y_SD, x_SD = tables(source, target, support)
        length_S1 = np.linalg.norm(y_SD, axis=1, keepdims=True).clip(min=1e-300)
        atoms = min(self.atoms, *y_SD.shape)
        report = {"tokens": len(tokens), "atoms": atoms}
        return PursuitMap(y_SD / length_S1, x_SD / length_S1, atoms, report)
