"""Orthogonal Procrustes: a rotation (with reflection) and one scale, so that angles are kept.

Schoenemann, "A generalized solution of the orthogonal Procrustes problem", 1966; between tables of
word embeddings Xing et al. 2015 and Smith et al. 2017. The two tables are brought to one width.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import orthogonal_procrustes

from vwtransfer.config.schema import convert
from vwtransfer.transfer.tables import Regression, TableMethod

Width = Literal["pad", "pca"]


@dataclass
class Procrustes(TableMethod):
    """x = scale (y - mean) P R Q' + mean, R orthogonal, fitted on the centred tables.

    Attributes:
        name: what the results call it.
        width: "pad": P and Q fill up the narrower table with zeros; "pca": they keep as many
            principal directions of each table as the narrower one has dimensions.
    """

    name: str = "procrustes"
    width: Width = "pad"

    def __post_init__(self) -> None:
        convert(Width, self.width, "transfer.width")

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """Scale P R Q' and what it leaves of the means."""
        y_D, x_D = y_SD.mean(axis=0), x_SD.mean(axis=0)
        into_DC, out_DC = self._frames(y_SD - y_D, x_SD - x_D)
        y_SC, x_SC = (y_SD - y_D) @ into_DC, (x_SD - x_D) @ out_DC
        rotation_CC, overlap = orthogonal_procrustes(y_SC, x_SC)
        matrix = overlap / np.square(y_SC).sum() * into_DC @ rotation_CC @ out_DC.T
        return matrix, x_D - y_D @ matrix, {}

    def _frames(self, y_SD: np.ndarray, x_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Orthonormal columns that bring each centred table to the common width C."""
        if self.width == "pad":
            common = max(y_SD.shape[1], x_SD.shape[1])
            return np.eye(y_SD.shape[1], common), np.eye(x_SD.shape[1], common)
        common = min(*y_SD.shape, x_SD.shape[1])
        directions = [np.linalg.svd(table, full_matrices=False)[2].T for table in (y_SD, x_SD)]
        return directions[0][:, :common], directions[1][:, :common]
