"""The paper's least squares over a part of the shared tokens, or over all with weights.

Vocabularies list tokens in the order in which they were merged or found to be frequent, so that a
token's place stands for its frequency. The exceptions are the single characters that CLIP's and
WordPiece's vocabularies begin with, which are there for completeness: they rank last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.transfer.least_squares import least_squares
from vwtransfer.transfer.tables import AffineMap, tables


@dataclass
class Subset:
    """Least squares over whole words, or the most frequent ones, or weighted by frequency.

    Attributes:
        name: what the results call it.
        whole_words: leave out tokens that are pieces of words.
        most_frequent: share of the tokens that is kept, the most frequent in the source's (first)
            vocabulary.
        weighting: w in weights proportional to 1 / rank^w, rank the place among the tokens kept.
    """

    name: str
    whole_words: bool = False
    most_frequent: float = 1.0
    weighting: float = 0.0

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> AffineMap:
        """Fits the map; no prompt enters it.

        Raises:
            UserError: see `tables.tables`.
        """
        support = support.whole_words if self.whole_words else support
        vocabulary = next(iter(source.vocabularies.values()))
        ranked = by_frequency(support, vocabulary)
        ranked = ranked[: max(1, round(self.most_frequent * len(ranked)))]
        tokens, y_SD, x_SD = tables(source, target, support.only(ranked))
        rank = {entry: place for place, entry in enumerate(ranked, start=1)}
        rank_S = np.array([rank[entry] for entry in tokens.entries], dtype=np.float64)
        root_S1 = rank_S[:, None] ** (-self.weighting / 2)
        matrix, report = least_squares(root_S1 * y_SD, root_S1 * x_SD)
        return AffineMap(matrix, None, report)


def by_frequency(support: Support, vocabulary: Vocabulary) -> list[str]:
    """A support's entries, the most frequent first, as far as a vocabulary tells."""
    ids = vocabulary.ids if support.of_tokens else vocabulary.words
    letters_first = vocabulary.kind in ("clip_bpe", "wordpiece")
    text_of = dict(zip(support.entries, support.texts, strict=True))

    def rank(entry: str) -> tuple[bool, int]:
        return letters_first and len(text_of[entry]) == 1, ids[entry]

    return sorted(text_of, key=rank)
