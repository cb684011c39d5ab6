"""A rotation between the tables that is found without knowing which tokens are the same.

Dar, "mini-vec2vec: scaling universal geometry alignment with linear transformations", 2025 (arXiv
2510.02348): clusters of the two tables are matched by their cosines with one
another (a quadratic assignment), tokens by their cosines with the clusters, and the rotation that
this gives is refined by matching mapped tokens and mapped clusters anew. What it keeps is what
needs no shared vocabulary.

Letters: S support, D embedding width, C clusters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import quadratic_assignment
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from vwtransfer.transfer.procrustes import Procrustes
from vwtransfer.transfer.tables import Regression, TableMethod


@dataclass
class MiniVec2Vec(TableMethod):
    """x = scale (y - mean) R + mean, R orthogonal, fitted to matches of one's own making.

    Attributes:
        name: what the results call it.
        clusters: C, that are matched; `fine_clusters`: those of the last step.
        runs: of clustering and matching, whose cosines are joined.
        neighbours: of a token, whose mean it is matched with.
        rounds: of refinement by tokens.
        smoothing: weight of a round's rotation beside those before.
    """

    name: str = "mini_vec2vec"
    clusters: int = 20
    fine_clusters: int = 100
    runs: int = 10
    neighbours: int = 10
    rounds: int = 20
    smoothing: float = 0.5

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """The rotation and scale, and what they leave of the means; rows need not be paired."""
        y, x = (normalize(table - table.mean(axis=0)) for table in (y_SD, x_SD))
        runs = [self._relative(y, x, seed) for seed in range(self.runs)]
        like_y, like_x = (np.concatenate(parts, axis=1) for parts in zip(*runs, strict=True))
        matrix = _rotation(y, self._matches(like_y, like_x, x))
        for _ in range(self.rounds):
            found = _rotation(y, self._matches(y @ matrix, x, x))
            matrix = (1 - self.smoothing) * matrix + self.smoothing * found
        fine = min(self.fine_clusters, len(y))
        of_y = KMeans(fine, n_init=1, random_state=0).fit(y).cluster_centers_
        of_x = KMeans(fine, init=of_y @ matrix, n_init=1).fit(x).cluster_centers_
        matrix = _rotation(of_y, of_x)
        matches_SD = self._matches(y @ matrix, x, x_SD)
        return Procrustes().regress(y_SD, matches_SD)

    def _relative(self, y: np.ndarray, x: np.ndarray, seed: int) -> list[np.ndarray]:
        """Cosines [S, C] of each table with its clusters, those of the two in the same order."""
        count = min(self.clusters, len(y))
        y_C, x_C = (
            normalize(KMeans(count, n_init=1, random_state=seed).fit(rows).cluster_centers_)
            for rows in (y, x)
        )
        best = max((_assigned(y_C, x_C, start) for start in range(30)), key=lambda a: a.fun)
        return [normalize(y @ y_C.T), normalize(x @ x_C[best.col_ind].T)]

    def _matches(self, mapped: np.ndarray, there: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The mean of the rows of `x` at whose places `there` is nearest to each of `mapped`."""
        count = min(self.neighbours, len(there))
        near = NearestNeighbors(n_neighbors=count).fit(normalize(there))
        places: np.ndarray = near.kneighbors(normalize(mapped), return_distance=False)
        mean: np.ndarray = x[places].mean(axis=1)
        return mean


def _rotation(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return Procrustes().regress(y, x)[0]


def _assigned(y_C: np.ndarray, x_C: np.ndarray, start: int) -> Any:
    """Clusters matched so that their cosines with one another agree, as far as one start finds."""
    options = {"maximize": True, "P0": "randomized", "rng": np.random.default_rng(start)}
    return quadratic_assignment(y_C @ y_C.T, x_C @ x_C.T, options=options)
