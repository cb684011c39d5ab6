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

Then `transfer=mine` uses it and its rows of the results say `mine`. A method sees the two text
encoders (token tables, tokenizers, encoded prompts), no images and no labels. Least squares, the
paper's own, is in `least_squares.py`; the others are a file each beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from vwtransfer.models.text_encoder import TextEncoder


class Map(Protocol):
    """A fitted transfer."""

    @property
    def report(self) -> Mapping[str, Any]:
        """What there is to say of the fit, as plain numbers and strings."""
        ...

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """Words [N, K, D_source] as words [N, K', D_target] of the target model.

        A word comes out the same whichever others it is mapped with, up to rounding.
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
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> Map:
        """Fits the map of words from `source` to `target`.

        Args:
            source: the text encoder that words come from.
            target: the text encoder that they are mapped into.
            support: token strings that both vocabularies hold, such as "cat</w>".
            excluded: descriptions ("red striped star") that no prompt of the fit may spell out:
                the words of one, in any order and with others between them.
        """
        ...


def shared_tokens(source: TextEncoder, target: TextEncoder) -> list[str]:
    """Token strings that both vocabularies hold, special ones left out, in the source's order.

    The support of a study that names none (paper, section 3: more than 40,000 words).
    """
    held = set(target.tokens)
    return [token for token in source.tokens if token in held]
