"""The paper's least squares over a part of the shared words, or over all with weights.

CLIP's byte-pair vocabulary lists tokens in the order in which they were merged, the most frequent
first, so that a token's place stands for its frequency.
"""

from collections.abc import Sequence

import numpy as np

from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.transfer.least_squares import LinearMap, least_squares
from vwtransfer.transfer.tables import tables


class Subset:
    """Least squares over whole words, or the most frequent ones, or weighted by frequency.

    Args:
        name: what the results call it.
        whole_words: leave out tokens that do not end a word.
        most_frequent: share of the words that is kept, the first in the source's vocabulary.
        weighting: w in weights proportional to 1 / rank^w, rank the place among the words kept.
    """

    def __init__(
        self,
        name: str,
        whole_words: bool = False,
        most_frequent: float = 1.0,
        weighting: float = 0.0,
    ) -> None:
        self.name = name
        self.whole_words = whole_words
        self.most_frequent = most_frequent
        self.weighting = weighting

    def fit(
        self,
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> LinearMap:
        """Fits the map; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        chosen = [t for t in set(support) if t.endswith(WORD_END) or not self.whole_words]
        chosen.sort(key=lambda token: source.vocabulary.ids.get(token, -1))
        chosen = chosen[: max(1, round(self.most_frequent * len(chosen)))]
        words, y_SD, x_SD = tables(source, target, chosen)
        rank = {token: place for place, token in enumerate(chosen, start=1)}
        rank_S = np.array([rank[word] for word in words], dtype=np.float64)
        root_S1 = rank_S[:, None] ** (-self.weighting / 2)
        matrix, report = least_squares(root_S1 * y_SD, root_S1 * x_SD)
        return LinearMap(matrix, report)
