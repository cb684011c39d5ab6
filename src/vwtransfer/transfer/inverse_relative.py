"""Relative representations, decoded in closed form.

Maiorca et al., "Latent space translation via inverse relative projection", 2024 (arXiv 2406.15057):
a vector is described by its cosines with anchors in the source, here all shared tokens, and the
target's anchors are inverted. A vector's length is not in its cosines; as text encoders read it,
lengths keep their proportion to those of the tokens.

The whitened inner products of Svendsen et al., "Improving relative representations", 2026 (arXiv
2605.30596), decoded so, are `affine`: with all tokens as anchors, (v - mean) Cov(Y)^-1 Y' X / S is
the regression of the one table on the other. Their learned anchors are not here.
"""

from dataclasses import dataclass

import numpy as np

from vwtransfer.transfer.tables import Regression, TableMethod


@dataclass
class InverseRelative(TableMethod):
    """x = scale (y - mean) Y' (X')^+ + mean, rows of Y and X centred and of length one.

    Attributes:
        name: what the results call it.
    """

    name: str = "inverse_relative"

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """The matrix and what it leaves of the means."""
        y_D, x_D = y_SD.mean(axis=0), x_SD.mean(axis=0)
        lengths = [np.linalg.norm(t, axis=1, keepdims=True) for t in (y_SD - y_D, x_SD - x_D)]
        unit_y, unit_x = (y_SD - y_D) / lengths[0], (x_SD - x_D) / lengths[1]
        matrix = unit_y.T @ np.linalg.pinv(unit_x.T) * (lengths[1].mean() / lengths[0].mean())
        return matrix, x_D - y_D @ matrix, {}
