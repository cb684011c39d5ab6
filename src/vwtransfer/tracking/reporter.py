"""Makes of what trainer and evaluator report what wandb is told.

Shapes: N words, K vectors per word, D embedding width, Q quantities.
"""

import hashlib
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from vwtransfer.config import Config
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec
from vwtransfer.files import write_once
from vwtransfer.results import SCHEMA
from vwtransfer.tasks import Detected, Measurement
from vwtransfer.tracking import names
from vwtransfer.tracking.messages import (
    Box,
    Files,
    Message,
    Opening,
    Picture,
    Row,
    Run,
    Summary,
    Table,
)
from vwtransfer.tracking.outbox import Outbox
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell, delta_text
from vwtransfer.words.store import WordStore

JOB = "job"  # the run of all cells; that of a word goes by its key
MOST_TAGS, LONGEST_TAG, LONGEST_NAME = 20, 64, 100  # what wandb takes, and a person can read
MEAN_OF = ["dataset", "trained_for", "evaluated_on", "metric", "delta"]


class Birth(NamedTuple):
    """When a study was first tracked, and a name that no other study has."""

    id: str
    began: float


class Reporter:
    """The tracker that reports to wandb; see `tracking.Tracker`.

    What is told is worked out in the outbox's thread, beside the work.
    """

    def __init__(self, config: Config, cells: Sequence[Cell], store: WordStore) -> None:
        self.config = config
        self.settings = config.wandb
        self.cells = cells
        self.store = store
        self.outcome = ""
        self.introduced: set[str] = set()
        self.trained: set[Cell] = set()
        self.failed: set[Cell] = set()
        self.count = 0
        self.shown: Counter[tuple[str, str]] = Counter()
        self.outbox = Outbox(config.folder, self.settings.patience)
        now = time.time()
        self.outbox.send(lambda: self._opening(now))

    def step(self, pack: WordBatch, loss_N: Tensor) -> None:
        """The first step and every `wandb.every`-th."""
        if pack.step % self.settings.every and pack.step != 1:
            return
        now, cells, step = time.time(), pack.cells, pack.step
        value_QN = _quantities(pack, loss_N)
        self.outbox.send(lambda: self._step(cells, step, value_QN.tolist(), now))

    def settled(self, cells: Sequence[Cell]) -> None:
        """Counts them."""
        now = time.time()
        self.outbox.send(lambda: self._progress(cells, now))

    def measured(self, queries: Sequence[EvalSpec], found: Sequence[Measurement]) -> None:
        """Counts them, and shows the first pictures of each kind."""
        now = time.time()
        self.outbox.send(lambda: self._measured(queries, found, now))

    def conclude(self, rows: pd.DataFrame | None) -> None:
        """Tables, means, curves over delta, and the words."""
        now = time.time()
        self.outbox.send(lambda: self._conclusion(rows, now))

    def close(self, exit_code: int) -> None:
        """Waits until all is told, `wandb.patience` seconds at most; never raises."""
        self.outbox.close(exit_code)
        self.outcome = _outcome(self.outbox, self.config)

    @cached_property
    def _birth(self) -> Birth:
        path = self.config.folder / "wandb" / "study.json"
        fresh = Birth(os.urandom(8).hex(), time.time())
        write_once(path, lambda temporary: _write(temporary, json.dumps(fresh._asdict())))
        return Birth(**json.loads(path.read_text(encoding="utf-8")))

    @property
    def _per_word(self) -> bool:
        return self.settings.granularity == "word"

    def _opening(self, now: float) -> Iterator[Opening | Message]:
        settings = self.settings
        yield Opening(
            folder=str(self.config.folder.absolute()),
            mode=settings.mode,
            project=settings.project,
            entity=settings.entity,
            patience=settings.patience,
            began=self._birth.began,
            process=os.getpid(),
        )
        yield from self._progress(self.cells, now)

    def _introduce(self, key: str, cells: Sequence[Cell]) -> Iterator[Message]:
        """The run of these cells, before the first that is logged into it."""
        if key in self.introduced:
            return
        self.introduced.add(key)
        datasets = sorted({cell.dataset for cell in cells})
        tasks = sorted({cell.task for cell in cells})
        tags = [*datasets, *sorted({cell.concept for cell in cells})]
        yield Run(
            key=key,
            id=self._id(cells),
            name=_name(self.config, cells) if key == JOB else key,
            group=self.config.name,
            job_type=tasks[0] if len(tasks) == 1 else "study",
            tags=tuple(tag[:LONGEST_TAG] for tag in tags[:MOST_TAGS]),
            config={**self.config.composed, "words": [cell.key for cell in cells]},
            axes=names.axes(datasets, tasks),
            system=key == JOB,
        )

    def _id(self, cells: Sequence[Cell]) -> str:
        text = "\n".join([self._birth.id, *sorted(cell.key for cell in cells)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _step(
        self, cells: Sequence[Cell], step: int, values: list[list[float]], now: float
    ) -> Iterator[Message]:
        dataset, task = cells[0].dataset, cells[0].task
        at = {names.step(dataset, task): step}
        quantities = dict(zip(names.QUANTITIES, values, strict=True))
        if self._per_word:
            for n, cell in enumerate(cells):
                own = {
                    names.training(dataset, task, quantity): value[n]
                    for quantity, value in quantities.items()
                }
                yield from self._introduce(cell.key, [cell])
                yield Row(cell.key, {**at, **_finite(own)}, now)
            return
        row: dict[str, Any] = dict(at)
        for quantity, value in quantities.items():
            if finite := [each for each in value if math.isfinite(each)]:
                row[names.training(dataset, task, quantity, "mean")] = fmean(finite)
                row[names.training(dataset, task, quantity, "std")] = pstdev(finite)
            if self.settings.words:
                single = {names.of_word(c, quantity): v for c, v in zip(cells, value, strict=True)}
                row.update(_finite(single))
        yield Row(JOB, row, now)

    def _progress(self, cells: Sequence[Cell], now: float) -> Iterator[Message]:
        if self._per_word:
            return
        yield from self._introduce(JOB, self.cells)
        self.trained.update(cell for cell in cells if cell in self.store)
        self.failed.update(cell for cell in cells if self.store.failure(cell))
        counts = {
            names.WORDS: len(self.cells),
            names.TRAINED: len(self.trained),
            names.FAILED: len(self.failed - self.trained),
            names.MEASURED: self.count,
        }
        yield Row(JOB, counts, now)

    def _measured(
        self, queries: Sequence[EvalSpec], found: Sequence[Measurement], now: float
    ) -> Iterator[Message]:
        self.count += len(queries)
        shown: dict[str, dict[str, list[Picture]]] = {}
        for query, measurement in zip(queries, found, strict=True):
            run = query.cell.key if self._per_word else JOB
            if self._per_word and query.trained_for not in self.config.model.tasks:
                continue  # a baseline has no run
            name = names.images(query.dataset, query.trained_for, query.evaluated_on)
            for picture in _pictures(query, measurement):
                if self.shown[run, name] == self.settings.images:
                    break
                self.shown[run, name] += 1
                shown.setdefault(run, {}).setdefault(name, []).append(picture())
        for run, pictures in shown.items():
            if self._per_word:
                yield from self._introduce(run, [c for c in self.cells if c.key == run])
            yield Row(run, pictures, now)
        yield from self._progress([], now)

    def _conclusion(self, rows: pd.DataFrame | None, now: float) -> Iterator[Message]:
        if not self._per_word:
            yield from self._progress(self.cells, now)
            yield from self._of_run(JOB, self.cells, rows, now)
            return
        for cell in self.cells:
            yield from self._introduce(cell.key, [cell])
            yield from self._of_run(cell.key, [cell], rows, now)

    def _of_run(
        self, key: str, cells: Sequence[Cell], rows: pd.DataFrame | None, now: float
    ) -> Iterator[Message]:
        """What one run has at its end."""
        failures = [failure for cell in cells if (failure := self.store.failure(cell))]
        if failures:
            table = [[failure.cell.key, failure.step, failure.reason] for failure in failures]
            yield Row(key, {names.FAILURES: Table(("word", "step", "reason"), table)}, now)
        if rows is not None:
            own = self._own(rows, cells, baselines=key == JOB)
            yield Row(key, {names.ROWS: _table(own)}, now)
            means = own.groupby(MEAN_OF, observed=True)["value"].mean().dropna()
            summary = {names.result(*of): float(mean) for of, mean in means.items()}
            yield Summary(key, summary)
            if key == JOB:
                yield from self._curves(means, now)
        paths = {f"{c.key}.safetensors": str(self.store.path(c).absolute()) for c in cells}
        whole = {name: path for name, path in paths.items() if Path(path).exists()}
        if whole:
            yield Files(key, _artifact(self.config, cells, self._id(cells)), "words", whole)

    def _curves(self, means: pd.Series, now: float) -> Iterator[Message]:
        """Means against delta: a row for each delta."""
        by_delta: dict[float, dict[str, float]] = {}
        for (dataset, trained_for, evaluated_on, metric, delta), mean in means.items():
            if math.isfinite(delta):
                name = names.by_delta(dataset, trained_for, evaluated_on, metric)
                by_delta.setdefault(float(delta), {})[name] = float(mean)
        for delta in sorted(by_delta):
            yield Row(JOB, {names.DELTA: delta, **by_delta[delta]}, now)

    def _own(self, rows: pd.DataFrame, cells: Sequence[Cell], baselines: bool) -> pd.DataFrame:
        """The rows of these cells, and of the baselines of their concepts."""
        rows = rows[rows["transfer"].isin([NO_TRANSFER, self.config.transfer["name"]])]
        of_words = rows["trained_for"].isin(list(self.config.model.tasks))
        mine = pd.DataFrame([cell.__dict__ for cell in cells]).rename(
            columns={"task": "trained_for"}
        )
        found = [rows[of_words].merge(mine)]
        if baselines:
            concepts = mine[["dataset", "concept"]].drop_duplicates()
            found.append(rows[~of_words].merge(concepts))
        return pd.concat(found)[SCHEMA.names]


def _quantities(pack: WordBatch, loss_N: Tensor) -> Tensor:
    """`names.QUANTITIES` [Q, N] of a pack; distances are means over a word's vectors."""
    with torch.no_grad():
        anchor_NK = (pack.vectors_NKD - pack.centre_ND[:, None]).norm(dim=-1)
        projection_NK = pack.projection_NKD.norm(dim=-1)
        return torch.stack([loss_N.float(), anchor_NK.mean(1), projection_NK.mean(1)])


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Without what a word that diverged has."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _pictures(query: EvalSpec, measurement: Measurement) -> Iterator[Any]:
    """What there is to see of a measurement: functions that make the pictures."""
    metric, value = next(iter(measurement.values.items()), ("", math.nan))
    word = [query.concept, query.anchor and f"from {query.anchor}"]
    delta = f"delta {delta_text(query.delta)}" if math.isfinite(query.delta) else ""
    caption = ", ".join(filter(None, [*word, delta, f"{metric} {value:.2f}"]))
    for image in measurement.images:
        yield lambda image=image: Picture(image, caption)
    for detected in measurement.detected:
        yield lambda detected=detected: _boxed(detected, caption, query.concept)


def _boxed(detected: Detected, caption: str, concept: str) -> Picture:
    example = detected.example
    found = [
        Box(corners, score)
        for corners, score in zip(detected.box_T4.tolist(), detected.score_T.tolist(), strict=True)
    ]
    annotated = [
        Box(box)
        for box, label in zip(example.boxes, example.labels, strict=True)
        if label == concept
    ]
    return Picture(example.load(), caption, concept, {"found": found, "annotated": annotated})


def _table(rows: pd.DataFrame) -> Table:
    """Rows as wandb's tables take them: None where a number is not finite."""
    plain = [
        [None if isinstance(v, float) and not math.isfinite(v) else v for v in row]
        for row in rows.itertuples(index=False, name=None)
    ]
    return Table(SCHEMA.names, plain)


def _name(config: Config, cells: Sequence[Cell]) -> str:
    """What all cells share: demo/tiny_shapes/generation."""
    parts = [config.name]
    for values in zip(*((c.dataset, c.task, c.concept) for c in cells), strict=True):
        if len(set(values)) > 1:
            break
        parts.append(values[0])
    return "/".join(parts)


def _artifact(config: Config, cells: Sequence[Cell], run: str) -> str:
    """A name that no other run's words have, of the letters that wandb takes."""
    return re.sub(r"[^\w.-]+", "-", f"words-{_name(config, cells)}"[:LONGEST_NAME]) + f"-{run}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _outcome(outbox: Outbox, config: Config) -> str:
    """Where to look at what was recorded, and what was not."""
    answer, folder = outbox.answer, config.folder / "wandb"
    lost = outbox.lost + answer.get("lost", 0)
    reason = outbox.reason or answer.get("reason", "")
    missing = f"; {lost} reports are missing" if lost else ""
    missing += f" ({reason}; more in {outbox.log})" if reason else ""
    match answer.get("mode"):
        case "online" if reason:
            rest = f"upload the rest with: wandb beta sync --no-skip-online {folder}"
            return f"wandb: {answer['url']}{missing}; {rest}"
        case "online":
            return f"wandb: {answer['url']}{missing}"
        case "offline":
            return (
                f"wandb: offline ({answer['why']}). Look with: wandb leet {folder}; "
                f"upload with: {config.command} action=sync{missing}"
            )
        case _ if answer or not any(folder.glob("*run-*")):
            return f"wandb: nothing was recorded{missing}; the work is not affected"
        case _:
            return f"wandb: in part in {folder}{missing}; the work is not affected"
