"""The paper's map for how a word differs from its anchor, added to the target's anchor.

Words in a small delta ball lie so near to their anchor that what least squares leaves of the anchor
itself (its residual) is larger than what was learned. Here the anchor is mapped exactly.

Letters: N words, K vectors per word, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.tables import AffineMap


@dataclass(frozen=True)
class AnchorResidualMap:
    """x = x(anchor) + (v - y(anchor)) T for each of a word's vectors v.

    Attributes:
        linear: T.
        source, target: where anchors are looked up.
    """

    linear: AffineMap
    source: EmbeddingSpace
    target: EmbeddingSpace

    @property
    def report(self) -> Mapping[str, Any]:
        """That of T."""
        return self.linear.report

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target].

        Raises:
            UserError: the anchors are not known.
        """
        if anchors is None:
            raise UserError(
                "transfer=anchor_residual: it maps how a word differs from its anchor, which is "
                "not known of this word; choose another method, such as transfer=least_squares."
            )
        y_N1D = self.source.anchor_rows(anchors)[:, None].to(words_NKD)
        x_N1D = self.target.anchor_rows(anchors)[:, None].to(words_NKD)
        return x_N1D + self.linear(words_NKD - y_N1D)


@dataclass
class AnchorResidual:
    """The target's row of the anchor, and least squares for the rest.

    Attributes:
        name: what the results call it.
        folder: of fitted maps, as that of `LeastSquares`, which shares them.
    """

    name: str = "anchor_residual"
    folder: str | Path | None = None

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> AnchorResidualMap:
        """Fits T; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        linear = LeastSquares(folder=self.folder).fit(source, target, support, excluded)
        return AnchorResidualMap(linear, source, target)
