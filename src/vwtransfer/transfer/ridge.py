"""Ridge regression with an intercept, its strength chosen by cross-validation.

Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.
Directions that the shared words hardly span are shrunk instead of blown up.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import RidgeCV

from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.transfer.tables import AffineMap, explained, tables

STRENGTHS = np.logspace(-4, 4, 33)  # times the mean square of the centred source table


class Ridge:
    """A, b = argmin || Y A + b - X ||^2 + strength || A ||^2 over the support.

    The strength is that of least leave-one-out error over all words and dimensions.

    Args:
        name: what the results call it.
    """

    def __init__(self, name: str = "ridge") -> None:
        self.name = name

    def fit(
        self,
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> AffineMap:
        """Fits the map; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        words, y_SD, x_SD = tables(source, target, support)
        matrix, offset, strength = ridge(y_SD, x_SD)
        report = {
            "words": len(words),
            "strength": strength,
            "r2": explained(x_SD, y_SD @ matrix + offset),
        }
        return AffineMap(matrix, offset, report)


def ridge(
    y_SD: np.ndarray, x_SD: np.ndarray, strength: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """A [D_source, D_target], b [D_target] and the strength; None: leave-one-out error chooses."""
    scale = np.square(y_SD - y_SD.mean(axis=0)).sum(axis=0).mean()
    strengths = STRENGTHS if strength is None else np.array([strength])
    fitted = RidgeCV(alphas=strengths * scale).fit(y_SD, x_SD)
    return fitted.coef_.T.copy(), fitted.intercept_, float(fitted.alpha_ / scale)
