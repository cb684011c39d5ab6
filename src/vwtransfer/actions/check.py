"""action=check: can this study run on this machine? Trains nothing, and changes no file."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from vwtransfer.config import Config, DatasetConfig
from vwtransfer.datasets import BOXES, Dataset, notes_of
from vwtransfer.errors import UserError
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.results import NOT_CHECKED
from vwtransfer.tasks import Task
from vwtransfer.words.cells import cells

SPARE = 2**30  # bytes that are to be free beside what is counted
ROW_BYTES = 200  # of a result on disk
WORD_BYTES = 4000  # of a word's file beside its vectors, its checkpoint included
OK, NOTE, FAILED = "ok", "note", "FAILED"
STYLE = {OK: "green", NOTE: "yellow", FAILED: "red"}


@dataclass(frozen=True)
class Finding:
    """A row of the table: what was looked at, OK, NOTE or FAILED, and what there is to say."""

    what: str
    state: str
    detail: str


def check(config: Config) -> None:
    """Prints a table of all that a run of this config will need.

    Raises:
        UserError: something of it is not there; the table says what.
    """
    found = list(findings(config))
    table = Table("what", "", "detail")
    for each in found:
        table.add_row(each.what, f"[{STYLE[each.state]}]{each.state}", each.detail)
    console = Console()
    console.print(table if console.is_terminal else _lines(found), soft_wrap=True)
    failed = [each.what for each in found if each.state == FAILED]
    if failed:
        raise UserError(f"action=check: {len(failed)} of {len(found)} failed: {', '.join(failed)}.")


def _lines(found: Sequence[Finding]) -> str:
    """The table for a file or a pipe, one finding a line."""
    width = max(len(each.what) for each in found)
    return "\n".join(f"{each.what:{width}}  {each.state:6}  {each.detail}" for each in found)


def findings(config: Config) -> Iterator[Finding]:
    """Looks at one thing after the other; see `check`."""
    device = _found("device", lambda: _device(config))
    yield device
    if device.state == FAILED:
        return
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    loaded = []
    for name, task in suite.tasks.items():
        loaded.append(_found(f"model.{name}", partial(_model, task)))
        yield loaded[-1]
    for role in ("judge", "safety"):
        for part in {id(p): p for p in _parts(suite, role)}.values():
            yield _found(f"model.{role}", partial(_beside, part))
    if config.model.safety is None:
        yield Finding(
            "model.safety", NOTE, f"off: in the results the column `unsafe` says {NOT_CHECKED!r}"
        )
    if all(each.state == OK for each in loaded):
        yield _found("vocabulary", lambda: _vocabulary(suite))
        yield _found("anchors", lambda: _anchors(config, suite))
        yield _found("prompts", lambda: _prompts(config, suite))
        yield _found("memory", lambda: _memory(config))
    for name, dataset in config.dataset.items():
        yield from _dataset(f"dataset.{name}", dataset)
    yield _found("disk", lambda: _disk(config))


def _found(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, OK, look())
    except UserError as error:
        return Finding(what, FAILED, str(error))


def _device(config: Config) -> str:
    device = torch_device(config.device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {_gigabytes(properties.total_memory)}"
    return f"{device.type}, {torch.get_num_threads()} threads; no GPU is used"


def _model(task: Task) -> str:
    return (
        f"loads; {len(task.vocabulary.ids):,} tokens of width {task.text.width}, prompts of up to "
        f"{task.vocabulary.context_length}, token table {task.text.identity}"
    )


def _parts(suite: Suite, role: str) -> list[Any]:
    """The models that tasks use beside their own."""
    parts = [getattr(task, role, None) for task in suite.tasks.values()]
    return [part for part in parts if part is not None]


def _beside(part: Any) -> str:
    count = sum(parameter.numel() for parameter in part.model.parameters())
    return f"loads; {count / 1e6:.1f} million weights"


def _vocabulary(suite: Suite) -> str:
    shared = len(suite.support)
    widest = max(task.text.width for task in suite.tasks.values())
    if shared < widest:
        raise UserError(
            f"the models share {shared:,} words of the support; a map from vectors of width "
            f"{widest} needs more"
        )
    return f"{shared:,} words are in every model and in the support"


def _anchors(config: Config, suite: Suite) -> str:
    todo = cells(config)
    suite.check_anchors(todo)
    return f"{len({cell.anchor for cell in todo})} anchors, each a single token in every model"


def _prompts(config: Config, suite: Suite) -> str:
    for task in suite.tasks.values():
        task.vocabulary.prompt(task.template, config.trainer.vectors)
        for dataset in config.dataset.values():
            for name in dataset.concepts.values():
                task.vocabulary.encode(task.template.format(name))
    return f"words of {config.trainer.vectors} vectors and all concepts' names fit every model"


def _memory(config: Config) -> str:
    """Asked when all models are loaded."""
    device = torch_device(config.device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if free < SPARE:
        raise UserError(
            f"{_gigabytes(free)} are free beside the models, too little for a step of training; "
            "use a half type (model.TASK.dtype) or model.generation.memory"
        )
    return f"{_gigabytes(free)} are free beside the models"


def _dataset(key: str, config: DatasetConfig) -> Iterator[Finding]:
    try:
        dataset: Dataset = build_part(config.node, key)
    except UserError as error:
        yield Finding(key, FAILED, str(error))
        return
    training = [example for concept in dataset.concepts for example in dataset.training(concept)]
    held_out = [example for concept in dataset.concepts for example in dataset.held_out(concept)]
    remarks = notes_of(dataset)
    boxes = sum(len(example.boxes) for example in (*training, *held_out))
    without = [e.id for e in training if e.concept not in e.labels and BOXES not in remarks.lacks]
    per_concept = Counter(example.concept for example in training)
    lacking = [concept for concept in dataset.concepts if not per_concept[concept]]
    if lacking or without:
        reason = f"no training image of {lacking[0]}" if lacking else f"no box in {without[0]}"
        yield Finding(key, FAILED, reason)
        return
    yield Finding(
        key,
        OK,
        f"{len(dataset.concepts)} concepts, {len(training)} training and {len(held_out)} held-out "
        f"images, {boxes} boxes",
    )
    for reason in remarks.lacks.values():
        yield Finding(key, NOTE, reason)
    for note in remarks.noted[:1]:
        yield Finding(key, NOTE, f"{note} ({len(remarks.noted)} such notes)")
    for skipped in remarks.skipped[:1]:
        reason = f"{skipped.file}: {skipped.reason}"
        yield Finding(key, NOTE, f"{len(remarks.skipped)} files are skipped, such as {reason}")


def _disk(config: Config) -> str:
    todo = cells(config)
    widest = 2048  # of any text encoder there is, so that no model need be loaded
    measured = len(todo) * (1 + len(config.direction)) * 3 * ROW_BYTES
    needed = len(todo) * (config.trainer.vectors * widest * 4 * 4 + WORD_BYTES) + measured
    free = shutil.disk_usage(_existing(config.folder)).free
    if free < needed + SPARE:
        raise UserError(
            f"{_gigabytes(free)} are free at {config.folder}, and {len(todo):,} words with their "
            f"checkpoints and results may take {_gigabytes(needed)} (and 1 GB is to be left)"
        )
    return f"{len(todo):,} words may take {_gigabytes(needed)} of {_gigabytes(free)} free"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.2f} GB"
