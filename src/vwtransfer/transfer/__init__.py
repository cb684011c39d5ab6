"""How a word gets from one model's embedding space into another's.

A method is a class with a `name` and a `fit`; what `fit` returns maps words. To add one, write both
in a file of your own and name the class in a config:

    # conf/transfer/mine.yaml
    _target_: my_package.mine.Mine
    name: mine

    # my_package/mine.py
    class Mine:
        def __init__(self, name): ...
        def fit(self, source, target, support, excluded=()): ...    # -> as Map describes it

Then `transfer=mine` uses it and its rows of the results say `mine`. A method sees the two models'
text encoders (token tables, tokenizers, encoded prompts), no images and no labels. One that is a
matrix between the two tables is shorter: derive it from `tables.TableMethod`. Least squares, the
paper's own, is in `least_squares.py`; the others are a file each beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support


class Map(Protocol):
    """A fitted transfer."""

    @property
    def report(self) -> Mapping[str, Any]:
        """What there is to say of the fit, as plain numbers and strings."""
        ...

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as words [N, K', D_target] of the target model.

        A word comes out the same whichever others it is mapped with, up to rounding.

        Args:
            words_NKD: the words.
            anchors: the word that each began at; None where that is not known.
        """
        ...


class Transfer(Protocol):
    """A transfer method.

    Attributes:
        name: what the results call it.
    """

    name: str

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> Map:
        """Fits the map of words from `source` to `target`.

        Args:
            source: the text encoders that words come from.
            target: the text encoders that they are mapped into.
            support: what both vocabularies hold.
            excluded: descriptions ("red striped star") that no prompt of the fit may spell out:
                the words of one, in any order and with others between them.
        """
        ...
