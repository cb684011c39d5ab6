"""Latent functional maps: smooth functions on the one table as smooth functions on the other.

Fumero et al., "Latent functional maps: a spectral framework for representation alignment", 2024
(arXiv 2406.14183). Each table is a graph of nearest neighbours; a function on it is
written in the first eigenvectors of its Laplacian. A functional map C takes the coefficients of the
one to those of the other, as far as it can so that it commutes with the Laplacians. Every token is
a landmark here, so that C has a closed form. Tokens are then matched by their coefficients, and a
linear map is fitted to the matches, as in the authors' code.

Letters: S support, D embedding width, F functions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import identity
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import eigsh
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from vwtransfer.transfer.least_squares import least_squares
from vwtransfer.transfer.tables import Regression, TableMethod


@dataclass
class FunctionalMap(TableMethod):
    """x = y A, least squares for the tokens that a functional map matches.

    Attributes:
        name: what the results call it.
        functions: F, eigenvectors of each graph (fewer than the support).
        neighbours: of a token in its graph.
        commutation: weight of commuting with the Laplacians.
    """

    name: str = "functional_map"
    functions: int = 50
    neighbours: int = 15
    commutation: float = 1e-3

    def regress(self, y_SD: np.ndarray, x_SD: np.ndarray) -> Regression:
        """A, and which share of the tokens is matched with itself."""
        (y_F, y_SF), (x_F, x_SF) = self._functions(y_SD), self._functions(x_SD)
        apart_FF = np.square(x_F[:, None] - y_F) / np.square(max(y_F.max(), x_F.max()))
        map_FF = x_SF.T @ y_SF / (1 + self.commutation * apart_FF)
        nearest = NearestNeighbors(n_neighbors=1).fit(x_SF)
        match_S = nearest.kneighbors(y_SF @ map_FF.T, return_distance=False)[:, 0]
        matrix, _ = least_squares(y_SD, x_SD[match_S])
        return matrix, None, {"matched": float((match_S == np.arange(len(y_SD))).mean())}

    def _functions(self, rows_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The Laplacian's least eigenvalues [F] and their eigenvectors [S, F]."""
        tokens = len(rows_SD)
        near_SS = kneighbors_graph(rows_SD, min(self.neighbours, tokens - 1))
        smooth_SS = 2 * identity(tokens) - laplacian(near_SS.maximum(near_SS.T), normed=True)
        functions = min(self.functions, tokens - 1)
        value_F, vector_SF = eigsh(smooth_SS, functions, which="LA", v0=np.ones(tokens))
        return 2 - value_F, vector_SF
