"""Least squares with an intercept: x = y A + b.

The paper's map (section 3) goes through the origin; embedding tables have means that do not.
"""

from dataclasses import dataclass

import numpy as np

from vwtransfer.transfer.least_squares import least_squares
from vwtransfer.transfer.tables import Regression, TableMethod


@dataclass
class Affine(TableMethod):
    """A, b = argmin || Y A + b - X || over the support.

    Attributes:
        name: what the results call it.
    """

    name: str = "affine"

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """A on the centred tables, and b of what is left."""
        y_D, x_D = y_SD.mean(axis=0), x_SD.mean(axis=0)
        matrix, report = least_squares(y_SD - y_D, x_SD - x_D)
        return matrix, x_D - y_D @ matrix, report
