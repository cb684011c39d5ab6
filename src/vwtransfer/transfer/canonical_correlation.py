"""Canonical correlation: only the directions in which the two tables agree are kept.

Hotelling, "Relations between two sets of variates", 1936; between tables of word embeddings Faruqui
and Dyer, "Improving vector space word representations using multilingual correlation", 2014.
"""

from dataclasses import dataclass

import numpy as np

from vwtransfer.transfer.tables import Regression, TableMethod

FOLDS = 5
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the narrower width


@dataclass
class CanonicalCorrelation(TableMethod):
    """The canonical variates of y, each times its correlation, as those of x.

    With all variates that is least squares with an intercept (reduced-rank regression); how many
    are kept is chosen by the error on left-out tokens.

    Attributes:
        name: what the results call it.
    """

    name: str = "canonical_correlation"

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """The matrix and offset of the variates that are kept, and how many these are."""
        kept = _chosen(y_SD, x_SD)
        variates = canonical(y_SD, x_SD)
        matrix, offset = variates.regression(kept)
        least = float(variates.correlation_C[kept - 1])
        return matrix, offset, {"variates": kept, "least_correlation_kept": least}


@dataclass(frozen=True)
class Variates:
    """The canonical variates of two tables, C of them, those of largest correlation first.

    Attributes:
        whiten_DC: y - mean -> its variates.
        correlation_C: of each pair.
        colour_CD: variates of x -> x - mean.
        y_D, x_D: the means.
    """

    whiten_DC: np.ndarray
    correlation_C: np.ndarray
    colour_CD: np.ndarray
    y_D: np.ndarray
    x_D: np.ndarray

    def regression(self, kept: int) -> tuple[np.ndarray, np.ndarray]:
        """A [D_source, D_target] and b [D_target] by the first `kept`."""
        matrix = self.whiten_DC[:, :kept] * self.correlation_C[:kept] @ self.colour_CD[:kept]
        return matrix, self.x_D - self.y_D @ matrix


def canonical(y_SD: np.ndarray, x_SD: np.ndarray) -> Variates:
    """The variates of two tables; its time goes with S D^2."""
    y_D, x_D = y_SD.mean(axis=0), x_SD.mean(axis=0)
    y_SC, y_C, y_CD = _svd(y_SD - y_D)
    x_SC, x_C, x_CD = _svd(x_SD - x_D)
    left, correlation_C, right = np.linalg.svd(y_SC.T @ x_SC, full_matrices=False)
    return Variates(y_CD.T / y_C @ left, correlation_C, right * x_C @ x_CD, y_D, x_D)


def _svd(table_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular vectors and values of a table, without directions that it does not span."""
    left, values, right = np.linalg.svd(table_SD, full_matrices=False)
    spanned = values > values[0] * max(table_SD.shape) * np.finfo(np.float64).eps
    return left[:, spanned], values[spanned], right[spanned]


def _chosen(y_SD: np.ndarray, x_SD: np.ndarray) -> int:
    """How many variates have the least error on left-out tokens, in FOLDS folds."""
    most = min(len(y_SD) - -(-len(y_SD) // FOLDS) - 1, y_SD.shape[1], x_SD.shape[1])
    counts = sorted({max(1, round(share * most)) for share in SHARES})
    fold_S = np.random.default_rng(0).permutation(len(y_SD)) % FOLDS
    errors = dict.fromkeys(counts, 0.0)
    for fold in range(FOLDS):
        seen, left_out = fold_S != fold, fold_S == fold
        variates = canonical(y_SD[seen], x_SD[seen])
        for count in counts:
            matrix, offset = variates.regression(count)
            errors[count] += np.square(y_SD[left_out] @ matrix + offset - x_SD[left_out]).sum()
    return min(errors, key=errors.__getitem__)
