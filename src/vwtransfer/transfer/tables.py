"""The embeddings that table methods are fitted on, and the affine map that most of them give.

Letters: S support words, N words, K vectors per word, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.text_encoder import TextEncoder


@dataclass(frozen=True)
class AffineMap:
    """x = y A + b for each of a word's vectors.

    Attributes:
        matrix: A [D_source, D_target], float64.
        offset: b [D_target], float64.
        report: what there is to say of the fit.
    """

    matrix: np.ndarray
    offset: np.ndarray
    report: Mapping[str, Any]

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """Words [N, K, D_source] mapped in float64 to [N, K, D_target] of their own precision."""
        matrix_DD = torch.from_numpy(self.matrix).to(vectors_NKD.device)
        offset_D = torch.from_numpy(self.offset).to(vectors_NKD.device)
        return (vectors_NKD.double() @ matrix_DD + offset_D).to(vectors_NKD.dtype)


def tables(
    source: TextEncoder, target: TextEncoder, support: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The support's words once each, sorted, with their rows y_SD and x_SD, float64.

    Raises:
        UserError: the support is empty, or one of its words is missing from a vocabulary or has an
            embedding that is not finite.
    """
    words = sorted(set(support))
    if not words:
        raise UserError("transfer: the support holds no word, so that no map can be fitted.")
    return words, _table(source, words, "source"), _table(target, words, "target")


def explained(x_SD: np.ndarray, predicted_SD: np.ndarray) -> float | None:
    """R2 = 1 - ||predicted - x||^2 / ||x - mean||^2, mean over words; None for a constant x."""
    centred = float(np.square(x_SD - x_SD.mean(axis=0)).sum())
    return 1 - float(np.square(predicted_SD - x_SD).sum()) / centred if centred else None


def _table(encoder: TextEncoder, words: Sequence[str], side: str) -> np.ndarray:
    """Embeddings [S, D] of the support, checked."""
    held = set(encoder.tokens)
    absent = [word for word in words if word not in held]
    if absent:
        raise UserError(
            f"transfer: {len(absent)} of {len(words)} support words are not in the vocabulary of "
            f"the {side} model: {', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}."
        )
    table_SD = encoder.rows(words).detach().cpu().double().numpy()
    broken = [word for word, row in zip(words, table_SD, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise UserError(
            f"transfer: the {side} model's embeddings of {len(broken)} support words are not "
            f"finite: {', '.join(broken[:5])}{', ...' if len(broken) > 5 else ''}."
        )
    return table_SD
