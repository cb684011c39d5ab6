"""Makes of what a study tells what wandb is told.

Shapes: N words, K vectors per word, D embedding width, Q quantities.
"""

import hashlib
import math
import os
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import Config
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec
from vwtransfer.files import write_once
from vwtransfer.results import SCHEMA
from vwtransfer.results.schema import BASELINES
from vwtransfer.study.callbacks import Callbacks
from vwtransfer.tasks import Detected, Measurement
from vwtransfer.tracking import names
from vwtransfer.tracking.outbox import Outbox
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell, delta_text
from vwtransfer.words.store import WordStore

JOB = "job"  # the run of all cells; that of a word goes by its key
MOST_TAGS, LONGEST_TAG = 20, 64  # what a person can read, and wandb takes
LOSSLESS_SIDE = 256  # pixels; larger pictures go as JPEG, a tenth of the size

Calls = Iterator[tuple[Any, ...]]  # of the methods of `recorder.Recorder`


class Reporter(Callbacks):
    """The callbacks of a study that reports to wandb; see `study.callbacks`.

    What is told is worked out in the outbox's thread, beside the work.
    """

    def __init__(self, config: Config, cells: Sequence[Cell], store: WordStore) -> None:
        self.config, self.settings = config, config.wandb
        self.cells, self.store = list(cells), store
        self.outcome = ""
        self.per_word = self.settings.granularity == "word"
        self.runs = {c.key: [c] for c in cells} if self.per_word else {JOB: self.cells}
        self.trained: set[Cell] = set()
        self.failed: set[Cell] = set()
        self.count = 0
        self.shown: Counter[tuple[str, str]] = Counter()
        self.outbox = Outbox(config.folder, self.settings.finish_timeout_s)
        self.outbox.send(self._start)
        self.settled(self.cells)

    def step(self, batch: WordBatch, loss_N: Tensor) -> None:
        """The first step and every `wandb.log_every_n_steps`-th."""
        if batch.step % self.settings.log_every_n_steps and batch.step != 1:
            return
        now, cells, step = time.time(), batch.cells, batch.step
        value_QN = _quantities(batch, loss_N)
        self.outbox.send(lambda: self._step(cells, step, value_QN.tolist(), now))

    def settled(self, cells: Sequence[Cell]) -> None:
        """Counts them."""
        now = time.time()
        self.outbox.send(lambda: self._progress(cells, now))

    def measured(self, specs: Sequence[EvalSpec], measurements: Sequence[Measurement]) -> None:
        """Counts them, and shows the first pictures of each kind."""
        now = time.time()
        self.outbox.send(lambda: self._measured(specs, measurements, now))

    def conclude(self, rows: pd.DataFrame | None) -> None:
        """Tables, means, curves over delta, and the words."""
        now = time.time()
        self.outbox.send(lambda: self._conclusion(rows, now))

    def close(self, exit_code: int) -> None:
        """Waits until all is told, no longer than the outbox does; never raises."""
        self.outbox.close(exit_code)
        self.outcome = _outcome(self.outbox, self.config)

    def _start(self) -> Calls:
        path = self.config.folder / "wandb" / "began"  # when this study was first tracked
        write_once(path, lambda temporary: temporary.write_text(repr(time.time()), "utf-8"))
        began = path.read_text(encoding="utf-8")
        runs = {key: self._run(key, cells, began) for key, cells in self.runs.items()}
        folder = str(self.config.folder.absolute())
        yield "start", folder, self.settings.mode, float(began), names.axes(self.cells), runs

    def _run(self, key: str, cells: Sequence[Cell], began: str) -> tuple[dict[str, Any], ...]:
        """The config of a run, and its settings."""
        words = [cell.key for cell in cells]
        models = sorted({cell.model for cell in cells})
        tags = [
            *sorted({cell.dataset for cell in cells}),
            *sorted({cell.concept for cell in cells}),
        ]
        settings = {
            "project": self.settings.project,
            "entity": self.settings.entity,
            "run_id": hashlib.sha256("\n".join([began, *sorted(words)]).encode()).hexdigest()[:16],
            "run_name": key if self.per_word else _shared(self.config.name, cells),
            "run_group": self.config.name,
            "run_job_type": models[0] if len(models) == 1 else "study",
            "run_tags": tuple(tag[:LONGEST_TAG] for tag in tags[:MOST_TAGS]),
            "finish_timeout": self.settings.finish_timeout_s,
            "x_disable_stats": self.per_word,
            "x_stats_pid": os.getpid(),
        }
        return {**self.config.composed, "words": words}, settings

    def _step(
        self, cells: Sequence[Cell], step: int, value_QN: list[list[float]], now: float
    ) -> Calls:
        dataset, model = cells[0].dataset, cells[0].model
        row: dict[str, Any] = {names.step(dataset, model): step}
        of_words = {cell: dict(row) for cell in cells}
        for quantity, values in zip(names.QUANTITIES, value_QN, strict=True):
            finite = {c: v for c, v in zip(cells, values, strict=True) if math.isfinite(v)}
            for cell, value in finite.items():
                of_words[cell][names.training(dataset, model, quantity)] = value
            if finite:
                row[names.training(dataset, model, quantity, "mean")] = fmean(finite.values())
                row[names.training(dataset, model, quantity, "std")] = pstdev(finite.values())
            if self.settings.log_per_word:
                row.update({names.of_word(c, quantity): v for c, v in finite.items()})
        if not self.per_word:
            yield "log", JOB, row, now
            return
        for cell, own in of_words.items():
            yield "log", cell.key, own, now

    def _progress(self, cells: Sequence[Cell], now: float) -> Calls:
        if self.per_word:
            return
        self.trained.update(cell for cell in cells if cell in self.store)
        self.failed.update(cell for cell in cells if self.store.failure(cell))
        counts = {
            names.WORDS: len(self.cells),
            names.TRAINED: len(self.trained),
            names.FAILED: len(self.failed - self.trained),
            names.MEASURED: self.count,
        }
        yield "log", JOB, counts, now

    def _measured(
        self, specs: Sequence[EvalSpec], measurements: Sequence[Measurement], now: float
    ) -> Calls:
        self.count += len(specs)
        shown: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for spec, measurement in zip(specs, measurements, strict=True):
            run = names.cell(spec).key if self.per_word else JOB
            if run not in self.runs:
                continue  # a baseline has none of its own
            name = names.images(spec.dataset, names.source(spec), spec.target_model)
            left = self.settings.images - self.shown[run, name]
            pictures = list(islice(_pictures(spec, measurement), left))
            if pictures:
                self.shown[run, name] += len(pictures)
                shown[run][name] += pictures
        for run, by_name in shown.items():
            yield "log", run, dict(by_name), now
        yield from self._progress([], now)

    def _conclusion(self, rows: pd.DataFrame | None, now: float) -> Calls:
        yield from self._progress(self.cells, now)
        of_runs = {} if rows is None else self._of_runs(rows)
        for key, cells in self.runs.items():
            failures = [failure for cell in cells if (failure := self.store.failure(cell))]
            if failures:
                data = [[failure.cell.key, failure.step, failure.reason] for failure in failures]
                table = {"columns": ["word", "step", "reason"], "data": data}
                yield "log", key, {names.FAILURES: table}, now
            if key in of_runs:
                yield from self._results(key, of_runs[key], now)
            paths = {f"{c.key}.safetensors": str(self.store.path(c).absolute()) for c in cells}
            whole = {name: path for name, path in paths.items() if Path(path).exists()}
            if whole:
                yield "save", key, "words", whole

    def _of_runs(self, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The rows of each run's words; a run of the job has its concepts' baselines, too."""
        rows = rows[rows["transfer"].isin([NO_TRANSFER, *self.config.transfer.methods])]
        run_of = {cell: key for key, cells in self.runs.items() for cell in cells}
        concepts = set() if self.per_word else {(c.dataset, c.concept) for c in self.cells}
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows.itertuples()):
            of_concept = (row.dataset, row.concept) in concepts
            is_baseline = row.kind in BASELINES
            key = JOB if is_baseline and of_concept else run_of.get(names.cell(row))
            if key is not None:
                places[key].append(place)
        return {key: rows.iloc[found] for key, found in places.items()}

    def _results(self, key: str, rows: pd.DataFrame, now: float) -> Calls:
        """Rows as a table, means over words, and the same as curves over delta."""
        data = [[_plain(v) for v in row] for row in rows[SCHEMA.names].to_numpy(object)]
        yield "log", key, {names.ROWS: {"columns": SCHEMA.names, "data": data}}, now
        measured: dict[tuple[str, str, str, str], dict[float, list[float]]] = {}
        for row in rows.dropna(subset=["value"]).itertuples():
            of = (row.dataset, names.source(row), row.target_model, row.metric)
            measured.setdefault(of, {}).setdefault(row.delta, []).append(row.value)
        means: dict[str, float] = {}
        curves: dict[float, dict[str, float]] = defaultdict(dict)
        for of, by_delta in measured.items():
            for delta, values in by_delta.items():
                means[names.result(*of, delta)] = fmean(values)
                if math.isfinite(delta):
                    curves[delta][names.by_delta(*of)] = fmean(values)
        yield "summarize", key, means
        for delta in sorted(curves) if key == JOB else ():
            yield "log", key, {names.DELTA: delta, **curves[delta]}, now


def _quantities(batch: WordBatch, loss_N: Tensor) -> Tensor:
    """`names.QUANTITIES` [Q, N] of a batch; distances are means over a word's vectors."""
    with torch.no_grad():
        anchor_NK = (batch.vectors_NKD - batch.centre_ND[:, None]).norm(dim=-1)
        projection_NK = batch.projection_NKD.norm(dim=-1)
        return torch.stack([loss_N.float(), anchor_NK.mean(1), projection_NK.mean(1)])


def _plain(value: Any) -> Any:
    """A value as wandb's tables take it: None where a number is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pictures(spec: EvalSpec, measurement: Measurement) -> Iterator[dict[str, Any]]:
    """What there is to see of a measurement: arguments of wandb.Image."""
    metric, value = next(iter(measurement.values.items()), ("", math.nan))
    word = [spec.concept, spec.anchor and f"from {spec.anchor}"]
    delta = f"delta {delta_text(spec.delta)}" if math.isfinite(spec.delta) else ""
    caption = ", ".join(filter(None, [*word, delta, f"{metric} {value:.2f}"]))
    for image in measurement.images:
        yield _picture(image, caption)
    for detected in measurement.detected:
        yield _picture(detected.example.load(), caption, _boxes(detected, spec.concept))


def _picture(
    image: Image.Image, caption: str, boxes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    kind = "png" if max(image.size) <= LOSSLESS_SIDE else "jpg"
    return {"data_or_path": image, "caption": caption, "boxes": boxes, "file_type": kind}


def _boxes(detected: Detected, concept: str) -> dict[str, Any]:
    """Boxes that were found with a score, and those annotated, as wandb draws them."""
    example = detected.example
    found = [
        {**_box(corners, f"{score:.2f}"), "scores": {"score": score}}
        for corners, score in zip(detected.box_T4.tolist(), detected.score_T.tolist(), strict=True)
    ]
    annotated = [
        _box(corners, concept)
        for corners, label in zip(example.boxes, example.labels, strict=True)
        if label == concept
    ]
    kinds = {"found": found, "annotated": annotated}
    return {k: {"box_data": data, "class_labels": {0: concept}} for k, data in kinds.items()}


def _box(corners: Sequence[float], caption: str) -> dict[str, Any]:
    position = dict(zip(("minX", "minY", "maxX", "maxY"), corners, strict=True))
    return {"position": position, "domain": "pixel", "class_id": 0, "box_caption": caption}


def _shared(study: str, cells: Sequence[Cell]) -> str:
    """What all cells share: demo/tiny_shapes/generation."""
    parts = [study]
    for values in zip(*((c.dataset, c.model, c.concept) for c in cells), strict=True):
        if len(set(values)) > 1:
            break
        parts.append(values[0])
    return "/".join(parts)


def _outcome(outbox: Outbox, config: Config) -> str:
    """Where to look at what was recorded, and what was not."""
    answer, folder = outbox.answer, config.folder / "wandb"
    lost = outbox.lost + answer.get("lost", 0)
    reason = outbox.reason or answer.get("reason", "")
    missing = f"; {lost} reports are missing" if lost else ""
    more = f"; more in {outbox.log}" if outbox.log.is_file() else ""
    missing += f" ({reason}{more})" if reason else ""
    place = shlex.quote(str(folder))
    match answer.get("mode"):
        case "online" if reason:
            rest = f"upload the rest with: wandb beta sync --no-skip-online {place}"
            return f"wandb: {answer['url']}{missing}; {rest}"
        case "online":
            return f"wandb: {answer['url']}{missing}"
        case "offline":
            return (
                f"wandb: offline ({answer['why']}). Look with: wandb leet {place}; "
                f"upload with: {config.command} action=wandb_sync{missing}"
            )
        case _ if answer or not any(folder.glob("*run-*")):
            return f"wandb: nothing was recorded{missing}; the work is not affected"
        case _:
            return f"wandb: in part in {folder}{missing}; the work is not affected"
