"""action=check: can this study run on this machine? Trains nothing, and changes no file."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from rich.table import Table
from rich.text import Text

from vwtransfer.config import Config, DatasetConfig
from vwtransfer.datasets import BOXES, Dataset, held_out_examples, notes_of, training_examples
from vwtransfer.errors import UserError
from vwtransfer.files import free_bytes
from vwtransfer.models import Model
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.models.support import support_of
from vwtransfer.progress import terminal
from vwtransfer.results import NOT_CHECKED
from vwtransfer.study.early_checks import check_fidelity_prompts, check_folder_anchors
from vwtransfer.tasks.registry import tasks_of
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


def check(config: Config, models: bool = True, datasets: bool = True) -> None:
    """Prints a table of all that a run of this config will need.

    Args:
        config: the study's.
        models: whether to look at the models, and at what a run needs beside datasets.
        datasets: whether to look at the datasets.

    Raises:
        UserError: something of it is not there; the table says what.
    """
    found = list(findings(config, models, datasets))
    table = Table("what", "", "detail")
    for each in found:
        table.add_row(each.what, Text(each.state, STYLE[each.state]), each.detail)
    console = terminal()
    console.print(table if console.is_terminal else _lines(found), soft_wrap=True)
    failed = [each.what for each in found if each.state == FAILED]
    if failed:
        raise UserError(f"action=check: {len(failed)} of {len(found)} failed: {', '.join(failed)}.")


def _lines(found: Sequence[Finding]) -> str:
    """The table for a file or a pipe, one finding a line."""
    width = max(len(each.what) for each in found)
    return "\n".join(f"{each.what:{width}}  {each.state:6}  {each.detail}" for each in found)


def findings(config: Config, models: bool = True, datasets: bool = True) -> Iterator[Finding]:
    """Looks at one thing after the other; see `check`."""
    if models:
        yield from _study(config)
    for name, dataset in config.dataset.items() if datasets else ():
        yield from _dataset(f"dataset.{name}", dataset)
    if models:
        yield _found("disk", lambda: _disk(config))


def _study(config: Config) -> Iterator[Finding]:
    use_threads(config.threads)
    device = _found("device", lambda: _device(config))
    yield device
    if device.state == FAILED:
        return
    suite = build(config, torch_device(config.device))
    loaded = []
    for name, model in suite.models.items():
        finding = _found(f"model.{name}", partial(_model, model))
        if finding.state == OK:
            loaded.append(name)
        yield finding
    yield from _beside(config, suite)
    yield _found("tasks", lambda: _tasks(config, suite))
    for source, target in config.direction:
        if source in loaded and target in loaded:
            yield _found(f"support {source} to {target}", partial(_support, suite, source, target))
    trained = [suite.models[name] for name in config.trained if name in loaded]
    yield from _anchors(config, trained)
    yield _found("prompts", lambda: _prompts(config, [suite.models[name] for name in loaded]))
    if len(loaded) == len(suite.models):
        yield _found("memory", lambda: _memory(config))


def _found(what: str, examine: Callable[[], str]) -> Finding:
    try:
        return Finding(what, OK, examine())
    except UserError as error:
        return Finding(what, FAILED, str(error))


def _device(config: Config) -> str:
    device = torch_device(config.device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {_gigabytes(properties.total_memory)}"
    return f"{device.type}, {torch.get_num_threads()} threads; no GPU is used"


def _model(model: Model) -> str:
    text = model.text
    for whole in ("pipeline", "model"):  # `text` loads the text encoders alone
        getattr(model, whole, None)
    encoders = [
        f"{len(encoder.vocabulary.ids):,} tokens of width {encoder.width}, prompts of up to "
        f"{encoder.vocabulary.context_length}"
        for encoder in text.encoders.values()
    ]
    return f"loads; {model.task}; {'; '.join(encoders)}; embedding table {text.identity}"


def _beside(config: Config, suite: Suite) -> Iterator[Finding]:
    """The models that measure generations."""
    dino = suite.dino if "dino" in config.evaluation.metrics else None
    for role, part in (("judge", suite.judge), ("safety", suite.safety), ("dino", dino)):
        if part is not None:
            yield _found(f"model.{role}", partial(_weights, part))
    if config.model.safety is None:
        yield Finding(
            "model.safety", NOTE, f"off: in the results the column `unsafe` says {NOT_CHECKED!r}"
        )


def _weights(part: Any) -> str:
    count = sum(parameter.numel() for parameter in part.model.parameters())
    return f"loads; {count / 1e6:.1f} million weights"


def _tasks(config: Config, suite: Suite) -> str:
    tasks = tasks_of(config, suite).values()
    return "; ".join(f"{task.name}: {', '.join(task.metrics)}" for task in tasks)


def _support(suite: Suite, source: str, target: str) -> str:
    here, there = suite.models[source].text, suite.models[target].text
    support = support_of(here, there)
    if len(support) < here.width:
        raise UserError(
            f"{source} and {target} share {support}; a map from vectors of width {here.width} "
            "needs more"
        )
    return f"{support} are shared"


def _anchors(config: Config, models: Sequence[Model]) -> Iterator[Finding]:
    """Words in a delta ball need anchors of a single token; others start at the tokens' mean."""
    todo = cells(config)
    for model in models:
        mine = [cell for cell in todo if cell.model == model.name]
        anchors = sorted({cell.anchor for cell in mine})
        what, text = f"anchors {model.name}", model.text
        try:
            text.anchor_rows(anchors)
            check_folder_anchors(config, {model.name: model}, mine)
            for cell in mine:
                if math.isfinite(cell.delta):
                    text.check_single_token(cell.anchor)
        except UserError as error:
            yield Finding(what, FAILED, str(error))
            continue
        split = [anchor for anchor in anchors if not text.is_single_token(anchor)]
        if split:
            read_as = "; ".join(
                f"{name}: {' '.join(tokens)}"
                for name, tokens in text.anchor_tokens(split[0]).items()
            )
            yield Finding(
                what,
                NOTE,
                f"{len(split)} of {len(anchors)} are several tokens, and words start at their "
                f"mean: {split[0]} ({read_as})",
            )
        else:
            yield Finding(what, OK, f"{len(anchors)} anchors, each a single token")


def _prompts(config: Config, models: Sequence[Model]) -> str:
    for model in models:
        for vocabulary in model.vocabularies.values():
            vocabulary.prompt(model.prompt_template, config.trainer.num_vectors)
            for dataset in config.dataset.values():
                for name in dataset.concepts.values():
                    vocabulary.encode(model.prompt_template.format(name))
    check_fidelity_prompts(config, {model.name: model for model in models})
    return f"words of {config.trainer.num_vectors} vectors and all concepts' names fit every model"


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
            "use a half type (model.TASK.dtype) or model.generation.memory_savers"
        )
    return f"{_gigabytes(free)} are free beside the models"


def _dataset(key: str, config: DatasetConfig) -> Iterator[Finding]:
    try:
        dataset: Dataset = build_part(config.node, key)
    except UserError as error:
        yield Finding(key, FAILED, str(error))
        return
    training, held_out = training_examples(dataset), held_out_examples(dataset)
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
    widest = 2048  # of a text encoder or two, so that no model need be loaded
    measured = len(todo) * (1 + len(config.direction)) * 3 * ROW_BYTES
    needed = len(todo) * (config.trainer.num_vectors * widest * 4 * 4 + WORD_BYTES) + measured
    free = free_bytes(config.folder)
    if free < needed + SPARE:
        raise UserError(
            f"{_gigabytes(free)} are free at {config.folder}, and {len(todo):,} words with their "
            f"checkpoints and results may take {_gigabytes(needed)} (and 1 GB is to be left)"
        )
    return f"{len(todo):,} words may take {_gigabytes(needed)} of {_gigabytes(free)} free"


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.2f} GB"
