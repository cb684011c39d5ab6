"""converted.html: for each word, what its own model and the target read it like."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from torch import Tensor

from vwtransfer import __version__
from vwtransfer.conversion.converter import Converter
from vwtransfer.conversion.outputs import Row
from vwtransfer.files import write_text
from vwtransfer.transfer.output_matching import MatchingMap

PAGE = "converted.html"
PHRASES = 5  # of each model


@dataclass(frozen=True)
class Shown:
    """A word on the page.

    Attributes:
        row: of the table.
        before: phrases that the source reads most like the word, with their cosines.
        after: phrases that the target reads most like the converted word.
    """

    row: Row
    before: Sequence[tuple[str, float]] = ()
    after: Sequence[tuple[str, float]] = ()

    @property
    def shared(self) -> set[str]:
        """Words that occur in phrases of both."""
        here, there = (
            {word for text, _ in side for word in text.split()}
            for side in (self.before, self.after)
        )
        return here & there


def shown(converter: Converter, words: Sequence[tuple[Row, Tensor, Tensor]]) -> list[Shown]:
    """Words with the calibration prompts nearest to them, before and after.

    Args:
        converter: that converted them.
        words: of each its row, its vectors [K, D] in the source, and in the target.
    """
    found = []
    for row, source_KD, target_KD in words:
        fitted = converter.map_for(row.prompt)
        if not isinstance(fitted, MatchingMap):
            found.append(Shown(row))
            continue
        (before,) = fitted.source.nearest(source_KD[None], PHRASES)
        (after,) = fitted.target.nearest(target_KD[None], PHRASES)
        found.append(Shown(row, before, after))
    return found


def write_page(path: Path, models: tuple[str, str], words: Sequence[Shown]) -> None:
    """Writes the page of words that were converted from the first model to the second."""
    write_text(path, _template().render(models=models, words=words, version=__version__))


@cache
def _template() -> Any:
    text = (files("vwtransfer.conversion") / "page.html").read_text(encoding="utf-8")
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
