"""A transfer of one's own, which keeps what it was told to leave out of its fit."""

from collections.abc import Sequence

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.tables import AffineMap

EXCLUDED: list[str] = []
"""What the latest fit was given."""


class Recorded(LeastSquares):
    """Least squares."""

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> AffineMap:
        EXCLUDED[:] = excluded
        return super().fit(source, target, support, excluded)
