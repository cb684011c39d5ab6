"""Measures every word in its own model and in the others, and the baselines beside them.

Shapes: N words, K vectors per word, D embedding width.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vwtransfer.datasets import Dataset
from vwtransfer.evaluation.diagnostics import Diagnostics
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec
from vwtransfer.files import write_atomically
from vwtransfer.results import NOT_CHECKED, Record, write_part
from vwtransfer.seeds import generator
from vwtransfer.tasks import Measurement, Task
from vwtransfer.tracking import NullTracker, Tracker
from vwtransfer.transfer import Map
from vwtransfer.words.store import WordStore

_UNSAFE = {True: "yes", False: "no", None: NOT_CHECKED}


@dataclass(frozen=True)
class Evaluation:
    """One model that measures words of one dataset.

    Attributes:
        experiment: the name that rows carry.
        task: the model, and what it measures.
        dataset: whose held-out images are measured on.
        store: the trained words.
        maps: trained_for -> the map from that task's model into this one.
        vectors: K of the random baseline.
        folder: of the run.
        keep_images: whether generated images are written to images/.
        tracker: who is told what was measured.
        parts: the folder whose results/ takes the rows; None for the run's.
        causes: trained_for -> what may explain that words are lost on the way.
    """

    experiment: str
    task: Task
    dataset: Dataset
    store: WordStore
    maps: Mapping[str, Map]
    vectors: int
    folder: Path
    keep_images: bool
    tracker: Tracker = field(default_factory=NullTracker)
    parts: Path | None = None
    causes: Mapping[str, Diagnostics] = field(default_factory=dict)


def evaluate(
    evaluation: Evaluation,
    waiting: Sequence[EvalSpec],
    advance: Callable[[int], None] = lambda words: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Measures the queries and writes a part of the results for each pack of them.

    Args:
        evaluation: the model and the dataset.
        waiting: what has no rows yet; words that failed must be left out.
        advance: told how many queries were measured.
        stopping: asked after each pack.

    Raises:
        KeyboardInterrupt: `stopping` was true; what was measured is written.
    """
    for pack in _packs(waiting, evaluation.task.measured_at_once):
        began = time.perf_counter()
        measured = _measure(evaluation, pack)
        seconds = (time.perf_counter() - began) / len(pack)
        causes = evaluation.causes.get(pack[0].trained_for)
        explained: Sequence[dict[str, Any]] = [{}] * len(pack)
        if causes is not None:
            explained = causes.of([query.cell for query in pack])
        records = [
            Record(
                evaluation.experiment,
                **asdict(query),
                metric=metric,
                value=value,
                examples=measurement.examples,
                seconds=seconds,
                unsafe=_UNSAFE[measurement.unsafe],
                **of_word,
            )
            for query, measurement, of_word in zip(pack, measured, explained, strict=True)
            for metric, value in measurement.values.items()
        ]
        if evaluation.keep_images:
            for query, measurement in zip(pack, measured, strict=True):
                _keep_images(evaluation.folder, query, measurement)
        if records:
            write_part(evaluation.parts or evaluation.folder, records, _part_key(pack))
        evaluation.tracker.measured(pack, measured)
        advance(len(pack))
        if stopping():
            raise KeyboardInterrupt


def _packs(waiting: Sequence[EvalSpec], size: int) -> Iterator[list[EvalSpec]]:
    """Queries that are encoded alike, so many at a time."""
    groups: dict[tuple[str, str], list[EvalSpec]] = {}
    for query in waiting:
        groups.setdefault((query.trained_for, query.transfer), []).append(query)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


@torch.no_grad()
def _measure(evaluation: Evaluation, pack: Sequence[EvalSpec]) -> list[Measurement]:
    task, dataset, kind = evaluation.task, evaluation.dataset, pack[0].trained_for
    concepts = [query.concept for query in pack]
    if kind == "chance":
        return [Measurement(task.chance(len(dataset.concepts)), examples=0)] * len(pack)
    if kind == "anchor":
        text = task.text.encode_text([task.template.format(query.anchor) for query in pack])
    elif kind == "name":
        names = [dataset.concepts[concept] for concept in concepts]
        text = task.text.encode_text([task.template.format(name) for name in names])
    else:
        text = task.text.encode_words(task.template, _vectors(evaluation, pack))
    return task.measure(text, dataset, concepts)


def _vectors(evaluation: Evaluation, pack: Sequence[EvalSpec]) -> Tensor:
    """The words [N, K, D] of a pack in the space of the model that measures them."""
    text, kind = evaluation.task.text, pack[0].trained_for
    device = text.embedding.weight.device
    if kind == "random":
        rows = [_random(evaluation, query) for query in pack]
        return torch.stack(rows).to(device)
    width = text.width if pack[0].transfer == NO_TRANSFER else None
    words = [evaluation.store.load(query.cell, width).vectors_KD for query in pack]
    vectors_NKD = torch.stack(words)
    if pack[0].transfer != NO_TRANSFER:
        vectors_NKD = evaluation.maps[kind](vectors_NKD)
    return vectors_NKD.to(device)


def _random(evaluation: Evaluation, query: EvalSpec) -> Tensor:
    text = evaluation.task.text
    stream = generator("random", query.dataset, query.concept, query.anchor, query.seed)
    direction_KD = torch.randn(evaluation.vectors, text.width, generator=stream)
    direction_KD /= direction_KD.norm(dim=1, keepdim=True)
    return direction_KD * text.word_row(query.anchor).norm()


def _keep_images(folder: Path, query: EvalSpec, measurement: Measurement) -> None:
    """Under images/; see `kept_images`."""
    for number, image in enumerate(measurement.images):
        path = image_path(folder / "images", **query.of_image, number=number)
        write_atomically(path, partial(image.save, format="PNG"))


def _part_key(pack: Sequence[EvalSpec]) -> str:
    first = pack[0]
    digest = hashlib.sha256(repr(list(pack)).encode()).hexdigest()[:16]
    return f"{first.dataset}-{first.trained_for}-on-{first.evaluated_on}-{digest}"
