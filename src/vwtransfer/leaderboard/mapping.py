"""Words carried by a method into another model: mapped once, many at a time, and kept as words.

A carried word lies at carried/<method>/<source>_to_<target>/ under the key of the word that it was
carried from, in the format of `vwtransfer.words.store`; `seconds` is the time that mapping it took.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vwtransfer.files import write_json
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.transfer import Transfer
from vwtransfer.transfer.prompts import Excluded
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Word, WordStore

AT_ONCE = 64  # words


@dataclass(frozen=True)
class IdentityMap:
    """The map of words that lie in the target's space already."""

    report: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """The words as they are."""
        return vectors_NKD


@dataclass(frozen=True)
class Direction:
    """From where to where words are carried.

    Attributes:
        source: the task that words were trained for.
        target: the task whose model they are carried into.
        folder: of the run.
    """

    source: str
    target: str
    folder: Path

    def store(self, method: str) -> WordStore:
        """Where the words that a method carried lie."""
        return WordStore(self.folder / "carried" / method / f"{self.source}_to_{self.target}")

    def report(self, method: str) -> Path:
        """Where a method's fit and its times are told."""
        return self.folder / "transfer" / f"{method}-{self.source}_to_{self.target}.json"


def carry(
    method: Transfer,
    direction: Direction,
    models: tuple[TextEncoder, TextEncoder],
    support: Sequence[str],
    excluded: Sequence[str],
    words: WordStore,
    cells: Sequence[Cell],
    advance: Callable[[int], None] = lambda done: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Fits the method and maps every word of `cells` that it has not yet carried.

    Args:
        method: what carries.
        direction: from where to where.
        models: the text encoders of source and target.
        support: token strings that the method may be fitted on, but those that are a description.
        excluded: descriptions that no prompt of the fit may spell out.
        words: the trained words.
        cells: which of them, all trained for `direction.source`.
        advance: told how many words were carried.
        stopping: asked after each batch.

    Raises:
        KeyboardInterrupt: `stopping` was true; what was carried is kept.
    """
    store = direction.store(method.name)
    waiting = [cell for cell in cells if cell not in store]
    if not waiting:
        return
    source, target = models
    support = _unnamed(support, excluded)
    began = time.perf_counter()
    fitted = method.fit(source, target, support, excluded)
    path = direction.report(method.name)
    if not path.exists():  # fitted again, it may only be read
        write_json(path, {**fitted.report, "fit_seconds": time.perf_counter() - began})
    for start in range(0, len(waiting), AT_ONCE):
        part = waiting[start : start + AT_ONCE]
        trained = [words.load(cell, source.width) for cell in part]
        began = time.perf_counter()
        mapped_NKD = fitted(torch.stack([word.vectors_KD for word in trained]))
        seconds = (time.perf_counter() - began) / len(part)
        for word, mapped_KD in zip(trained, mapped_NKD, strict=True):
            store.save(Word(word.cell, mapped_KD, target.identity, word.config, word.loss, seconds))
        advance(len(part))
        if stopping():
            raise KeyboardInterrupt


def _unnamed(support: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """The tokens of a support that are not by themselves what a concept is called."""
    names = Excluded(excluded)
    return [token for token in support if not names.spelt_out([token.removesuffix(WORD_END)])]


def times(
    method: str, directions: Sequence[Direction], cells: Sequence[Cell]
) -> tuple[float, float]:
    """Mean seconds of a method's fit, and mean seconds of mapping a word, over directions."""
    fits = [
        json.loads(d.report(method).read_text(encoding="utf-8"))["fit_seconds"] for d in directions
    ]
    seconds = [
        d.store(method).load(cell).seconds
        for d in directions
        for cell in cells
        if cell.task == d.source and cell in d.store(method)
    ]
    return sum(fits) / len(fits), sum(seconds) / len(seconds)
