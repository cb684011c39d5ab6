"""The embeddings that methods between tables are fitted on, and the matrix that most of them give.

Letters: S support, N words, K vectors per word, D embedding width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer import Map

Regression = tuple[np.ndarray, np.ndarray | None, Mapping[str, Any]]
"""The matrix [D_source, D_target], the offset [D_target], and what to report beside R2."""


def tables(
    source: EmbeddingSpace, target: EmbeddingSpace, support: Support
) -> tuple[Support, np.ndarray, np.ndarray]:
    """The support's entries once each, sorted, with their rows y_SD and x_SD, float64.

    Raises:
        UserError: the support is empty, or one of its entries is missing from a vocabulary or has
            an embedding that is not finite.
    """
    if not len(support):
        raise UserError(
            "transfer: the models share no token and no word of one token, so that no map can be "
            "fitted."
        )
    tokens = support.sorted()
    return tokens, _table(source, tokens, "source"), _table(target, tokens, "target")


def explained(x_SD: np.ndarray, predicted_SD: np.ndarray) -> float | None:
    """R2 = 1 - ||predicted - x||^2 / ||x - mean||^2, mean over rows; None for a constant x."""
    centred = float(np.square(x_SD - x_SD.mean(axis=0)).sum())
    return 1 - float(np.square(predicted_SD - x_SD).sum()) / centred if centred else None


@dataclass(frozen=True)
class AffineMap:
    """x = y A + b for each of a word's vectors.

    Attributes:
        matrix: A [D_source, D_target], float64.
        offset: b [D_target], float64; None for none.
        report: what there is to say of the fit.
    """

    matrix: np.ndarray
    offset: np.ndarray | None
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] mapped in float64 to [N, K, D_target] of their own precision."""
        mapped_NKD = words_NKD.double() @ torch.from_numpy(self.matrix).to(words_NKD.device)
        if self.offset is not None:
            mapped_NKD = mapped_NKD + torch.from_numpy(self.offset).to(words_NKD.device)
        return mapped_NKD.to(words_NKD.dtype)


class VectorMap(ABC):
    """A map of single vectors: of a word each by itself.

    Attributes:
        report: what there is to say of the fit.
    """

    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target] of their own precision."""
        mapped_MD = self.vectors(words_NKD.flatten(0, 1).double().cpu())
        return mapped_MD.unflatten(0, words_NKD.shape[:2]).to(words_NKD)

    @abstractmethod
    def vectors(self, vectors_MD: Tensor) -> Tensor:
        """Vectors [M, D_source] as [M, D_target], float64 on the CPU."""


@dataclass
class TableMethod:
    """A method that is fitted to the rows of the same tokens in both tables.

    A subclass says in `regress` how a matrix between the two, and perhaps an offset, is found, or
    makes a map of another kind in `fit_rows`.

    Attributes:
        name: what the results call it.
    """

    name: str

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> Map:
        """Fits the map to the support's rows; no prompt enters it.

        Raises:
            UserError: see `tables`.
        """
        _, y_SD, x_SD = tables(source, target, support)
        return self.fit_rows(y_SD, x_SD)

    def fit_rows(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Map:
        """The map of the source's rows to the target's rows of the same tokens, float64."""
        matrix, offset, told = self.regress(y_SD, x_SD)
        predicted_SD = y_SD @ matrix + (0 if offset is None else offset)
        report = {"tokens": len(y_SD), "r2": explained(x_SD, predicted_SD), **told}
        return AffineMap(matrix, offset, report)

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """The matrix [D_source, D_target], the offset [D_target], and what to report beside R2.

        Args:
            y_SD: the source's rows, float64.
            x_SD: the target's rows of the same tokens.
        """
        raise NotImplementedError


def _table(space: EmbeddingSpace, tokens: Support, side: str) -> np.ndarray:
    """Embeddings [S, D] of a support, checked."""
    table_SD: np.ndarray = space.token_rows(tokens).double().numpy()
    finite_S = np.isfinite(table_SD).all(axis=1)
    broken = [token for token, fine in zip(tokens.entries, finite_S, strict=True) if not fine]
    if broken:
        raise UserError(
            f"transfer: the {side} model's embeddings of {len(broken)} support tokens are not "
            f"finite: {', '.join(broken[:5])}{', ...' if len(broken) > 5 else ''}."
        )
    return table_SD
