"""Least squares with an intercept: x = y A + b.

The paper's map (section 3) goes through the origin; embedding tables have means that do not.
"""

from collections.abc import Sequence

from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.transfer.least_squares import least_squares
from vwtransfer.transfer.tables import AffineMap, tables


class Affine:
    """A, b = argmin || Y A + b - X || over the support.

    Args:
        name: what the results call it.
    """

    def __init__(self, name: str = "affine") -> None:
        self.name = name

    def fit(
        self,
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> AffineMap:
        """Fits A on the centred tables, and b to what is left; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        _, y_SD, x_SD = tables(source, target, support)
        y_D, x_D = y_SD.mean(axis=0), x_SD.mean(axis=0)
        matrix, report = least_squares(y_SD - y_D, x_SD - x_D)
        return AffineMap(matrix, x_D - y_D @ matrix, report)
