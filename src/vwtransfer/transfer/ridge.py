"""Ridge regression with an intercept, its penalty chosen by cross-validation.

Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.
Directions that the shared tokens hardly span are shrunk instead of blown up.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from vwtransfer.transfer.tables import Regression, TableMethod

ALPHAS = np.logspace(-4, 4, 33)  # times the mean square of the centred source table


@dataclass
class Ridge(TableMethod):
    """A, b = argmin || Y A + b - X ||^2 + alpha || A ||^2 over the support.

    Alpha is that of least leave-one-out error over all tokens and dimensions.

    Attributes:
        name: what the results call it.
    """

    name: str = "ridge"

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """A and b, and which alpha was chosen."""
        matrix, offset, alpha = ridge(y_SD, x_SD)
        return matrix, offset, {"ridge_alpha": alpha}


def ridge(
    y_SD: np.ndarray, x_SD: np.ndarray, alpha: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """A [D_source, D_target], b [D_target] and alpha; None: leave-one-out error chooses it."""
    scale = np.square(y_SD - y_SD.mean(axis=0)).sum(axis=0).mean()
    alphas = ALPHAS if alpha is None else np.array([alpha])
    fitted = RidgeCV(alphas=alphas * scale).fit(y_SD, x_SD)
    return fitted.coef_.T.copy(), fitted.intercept_, float(fitted.alpha_ / scale)
