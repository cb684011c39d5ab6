"""Words mapped by a method into another model: many at a time, and kept as words.

A mapped word lies at mapped/<method>/<source>_to_<target>/ under the key of the word that it was
mapped from, in the format of `vwtransfer.words.store`; `seconds` is the time that mapping it took.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config.origin import this_process
from vwtransfer.datasets import Dataset
from vwtransfer.evaluation.evaluator import FittedMap, load_beside
from vwtransfer.files import read_json
from vwtransfer.models.devices import device_name
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.study import Study, fit_report
from vwtransfer.transfer import Transfer
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

AT_ONCE = 64  # words


@dataclass(frozen=True)
class IdentityMap:
    """The map of words that lie in the target's space already."""

    report: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """The words as they are."""
        return words_NKD


@dataclass(frozen=True)
class Direction:
    """From where to where words are mapped.

    Attributes:
        source: the model that words were trained in.
        target: the model that they are mapped into.
        folder: of the study.
    """

    source: str
    target: str
    folder: Path

    def store(self, method: str) -> WordStore:
        """Where the words that a method mapped lie."""
        return WordStore(self.folder / "mapped" / method / f"{self.source}_to_{self.target}")

    def report(self, method: str, dataset: str) -> dict[str, Any]:
        """What a method's fit says of itself; `study.Study.fit` writes it."""
        path = fit_report(self.folder, method, self.source, self.target, dataset)
        report: dict[str, Any] = read_json(path)
        return report

    def as_mapped(self, method: str, dataset: str, space: EmbeddingSpace) -> FittedMap:
        """The map of what `store` holds, words in the target's space: none is needed any more."""
        return FittedMap(IdentityMap(), self.report(method, dataset)["support"], space)


def map_words(
    study: Study,
    method: Transfer,
    direction: Direction,
    dataset: Dataset,
    cells: Sequence[Cell],
    advance: Callable[[int], None] = lambda words: None,
) -> None:
    """Fits a method and maps words of a dataset by it.

    Args:
        study: whose words.
        method: what maps.
        direction: from where to where.
        dataset: of the words.
        cells: which words, all trained in the direction's source.
        advance: told how many words were mapped.

    Raises:
        KeyboardInterrupt: the study is to stop; what was mapped is kept.
        UserError: a word was trained beside another embedding table than its model's.
    """
    store = direction.store(method.name)
    source = study.suite.models[direction.source]
    target = study.suite.models[direction.target]
    fitted = study.fit(method, dataset, source.name, target.name).map
    made = this_process(device_name(target.device))
    for start in range(0, len(cells), AT_ONCE):
        part = cells[start : start + AT_ONCE]
        trained = [load_beside(study.store, cell, source.text) for cell in part]
        began = time.perf_counter()
        words_NKD = torch.stack([word.vectors_KD for word in trained])
        mapped_NKD = fitted(words_NKD, [cell.anchor for cell in part])
        seconds = (time.perf_counter() - began) / len(part)
        for word, mapped_KD in zip(trained, mapped_NKD, strict=True):
            mapped = replace(
                word,
                vectors_KD=mapped_KD,
                task=target.task,
                table=target.text.identity,
                seconds=seconds,
                made=made,
            )
            store.save(mapped)
        advance(len(part))
        if study.stopping():
            raise KeyboardInterrupt


def words_of(cells: Iterable[Cell], direction: Direction, dataset: str) -> list[Cell]:
    """The cells of a dataset whose words are mapped in a direction."""
    return [c for c in cells if (c.dataset, c.model) == (dataset, direction.source)]


def unmapped(study: Study, method: str, direction: Direction, dataset: Dataset) -> list[Cell]:
    """Those of them that a method has not yet mapped."""
    store = direction.store(method)
    return [c for c in words_of(study.cells, direction, dataset.name) if c not in store]


def times(
    method: str, pairs: Sequence[tuple[Direction, str]], cells: Sequence[Cell]
) -> tuple[float, float]:
    """Mean seconds of a method's fits, and mean seconds of mapping a word.

    Args:
        method: its name.
        pairs: direction and dataset of each fit.
        cells: the words.
    """
    fits = [direction.report(method, dataset)["fit_seconds"] for direction, dataset in pairs]
    seconds = [
        direction.store(method).load(cell).seconds
        for direction, dataset in pairs
        for cell in words_of(cells, direction, dataset)
    ]
    return sum(fits) / len(fits), sum(seconds) / len(seconds)
