"""What a job does: its shards, one after the other, each unless another process has it."""

import contextlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from submitit.helpers import DelayedSubmission

from vwtransfer import results, tracking
from vwtransfer.cluster import history, survey
from vwtransfer.cluster.archive import restore
from vwtransfer.cluster.claims import Claim, abandoned, owner_of, take
from vwtransfer.cluster.scheduler import is_gone
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.config import Config, provenance
from vwtransfer.config.composition import from_plain, prepare
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.evaluation.specs import specs_of
from vwtransfer.files import keep_inside
from vwtransfer.interrupts import deferred
from vwtransfer.models.devices import still_computes, torch_device, use_threads
from vwtransfer.models.suite import Suite, build
from vwtransfer.progress import Stages, stages, terminal
from vwtransfer.results import Record
from vwtransfer.study import Study, data_loading, measure_words, measured, train_words
from vwtransfer.study.early_checks import check_fidelity_prompts, check_folder_anchors
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.words.store import WordStore


@dataclass(frozen=True)
class Work:
    """A job as it is sent to a node; started again, it goes on from what lies on disk.

    Attributes:
        composed: the config, as plain values.
        keys: of its shards.
        command: of the submission.
    """

    composed: Mapping[str, Any]
    keys: tuple[str, ...]
    command: tuple[str, ...]

    def __call__(self) -> int:
        """Does the work.

        Returns:
            How many of the shards are complete.

        Raises:
            UserError: shards failed; their histories say why.
        """
        prepare()
        config = from_plain(self.composed)
        if (config.folder / "identity").is_dir():
            provenance.check(config)
            keep_inside(config.folder, claimed=True)
        else:  # deleted since this was submitted
            provenance.claim(config)
        provenance.save_process(config, self.command)
        given = config.cluster.executor == "slurm" and config.cluster.gpus
        if given and config.device == "auto" and not torch.cuda.is_available():
            raise UserError(
                "device=auto: this job was given a GPU, and torch finds none on this node. Leave "
                "the node out with 'cluster.additional_parameters={exclude: NODE}', or compute "
                "with device=cpu."
            )
        console = terminal(width=100)
        by_key = {shard.key: shard for shard in _planned(config)}
        todo = [by_key[key] for key in self.keys if key in by_key]
        try:
            failed = do(config, todo, console)
        except KeyboardInterrupt:
            raise SystemExit("stopped; what was finished is kept") from None
        if failed:
            raise UserError(f"{len(failed)} of {len(todo)} shards failed: {'; '.join(failed)}")
        return sum(survey.is_complete(config, shard) for shard in todo)

    def checkpoint(self) -> DelayedSubmission:
        """The same again: submitit asks for it ahead of a time limit or a preemption."""
        return DelayedSubmission(self)


def work(config: Config) -> None:
    """action=work: does here what no other process does; started on many machines, they share it.

    Raises:
        UserError: shards failed, after the others were done.
        KeyboardInterrupt: Ctrl-C.
    """
    provenance.save(config)
    console, loaded = terminal(), LoadedStudy(config)
    with contextlib.suppress(UserError):  # a dataset that is not whole fails its own shards below
        look_at_datasets(config, loaded.suite, console)
    if line := restore(config):
        print(line, flush=True)
    failed = do(config, _planned(config), console, loaded)
    left = {
        survey.claim_path(config.folder, shard): shard
        for shard in _planned(config)
        if not survey.is_complete(config, shard) and not _has_failed(config, shard)
    }
    if left:  # who has them on another machine may be dead, which only time tells
        seconds = config.cluster.heartbeat_timeout_s
        console.print(f"{len(left)} shards: waiting up to {seconds:g} s for a sign of their owners")
    dead = [left[path] for path in abandoned(list(left), config.cluster.heartbeat_timeout_s)]
    failed += do(config, dead, console, loaded)
    if failed:
        raise UserError(f"{len(failed)} shards failed: {'; '.join(failed)}")


def look_at_datasets(config: Config, suite: Suite, console: Console) -> None:
    """Opens the datasets once: jobs find the choice of images made, and what is lacking known.

    Args:
        config: of the study.
        suite: its models, which need not be on the device that trains.
        console: takes what a person should know of the images.
    """
    datasets, tasks = data_loading.opened(config), tasks_of(config, suite)
    lacking = map(str, data_loading.left_out(suite.models, tasks, datasets))
    for line in (*lacking, *data_loading.shortages(datasets)):
        console.print(line, style="yellow")
    pairs = [(model, dataset) for model in suite.models.values() for dataset in datasets.values()]
    survey.write_left_out(
        config.folder,
        [(m.name, d.name) for m, d in pairs if not data_loading.trains(m, d)],
        [(m.name, d.name) for m, d in pairs if not data_loading.measures(tasks[m.task], d)],
    )


def do(
    config: Config,
    todo: Sequence[Shard],
    console: Console,
    loaded: "LoadedStudy | None" = None,
) -> list[str]:
    """Completes shards that nobody else is at.

    Args:
        config: of the study.
        todo: the shards.
        console: takes what a person should know.
        loaded: the models and datasets, where they are loaded already.

    Returns:
        A line for each shard that failed here.

    Raises:
        KeyboardInterrupt: a signal asked to stop; work goes on from its checkpoint.
    """
    use_threads(config.threads or config.cluster.cpus)
    loaded = loaded or LoadedStudy(config)
    failed = []
    patience = max(1, config.cluster.signal_delay_s // 2)
    with deferred(patience) as asked, stages(console, config.progress) as bars:
        for shard in todo:
            if asked():
                raise KeyboardInterrupt
            if survey.is_complete(config, shard) or _has_failed(config, shard):
                continue
            path = survey.claim_path(config.folder, shard)
            try:
                claim = take(path, config.cluster.heartbeat_timeout_s, is_gone)
            except OSError as error:  # a file server in trouble; another shard may fare better
                failed.append(f"{shard.key}: {error}")
                continue
            if claim is None:
                left_to = f"{shard.key}: left to {owner_of(path) or 'another process'}"
                console.print(left_to, highlight=False, markup=False, soft_wrap=True)
                continue
            began = time.monotonic()
            with claim:
                reason = _attempt(loaded, shard, claim, bars, asked, began)
            # once the claim's own bytes on the disk are free; what befalls an orphan says nothing
            if reason and not claim.lost:
                failed.append(f"{shard.key}: {reason}")
                entry = history.event(history.FAILED, began, _count(config, shard), reason)
                history.record(config.folder, shard, entry)
                if not still_computes(torch_device(config.device)):
                    console.print("this process's GPU is lost; other shards are left to others")
                    break
    return failed


class LoadedStudy:
    """The models and datasets of a study, opened when a shard first needs them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._datasets: dict[str, Dataset] = {}

    @cached_property
    def suite(self) -> Suite:
        """The models."""
        return build(self.config, torch_device(self.config.device))

    def dataset(self, name: str) -> Dataset:
        """One of the datasets."""
        if name not in self._datasets:
            only = replace(self.config, dataset={name: self.config.dataset[name]})
            self._datasets |= data_loading.opened(only)
        return self._datasets[name]


def _attempt(
    loaded: LoadedStudy,
    shard: Shard,
    claim: Claim,
    bars: Stages,
    asked: Callable[[], bool],
    began: float,
) -> str:
    """Works on a shard under its claim; the reason why it failed, if it did."""
    config = loaded.config
    note = partial(history.record, config.folder, shard)
    try:
        note(history.event(history.STARTED, began, _count(config, shard)))
        _complete(loaded, shard, bars, lambda: asked() or claim.lost)
        note(history.event(history.FINISHED, began, _count(config, shard)))
    except KeyboardInterrupt:
        reason = "" if asked() else "another process took it over"
        note(history.event(history.STOPPED, began, _count(config, shard), reason))
        if not claim.lost:
            raise
    except UserError as error:
        _log(f"vwtransfer: {shard.key}: {error}\n")
        return str(error)
    except Exception as error:
        _log(traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return ""


def _log(text: str) -> None:
    """Writes to the job's log, which may lie on the very disk that is full."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _complete(
    loaded: LoadedStudy,
    shard: Shard,
    bars: Stages,
    stopping: Callable[[], bool],
) -> None:
    config, suite, cells = loaded.config, loaded.suite, shard.cells
    suite.check_anchors(cells)
    check_folder_anchors(config, suite.models, cells)
    check_fidelity_prompts(config, suite.models)
    store = WordStore(config.folder / "words")
    dataset, model = loaded.dataset(shard.dataset), suite.models[shard.model]
    datasets = {dataset.name: dataset}
    if not data_loading.trains(model, dataset):
        lines = data_loading.left_out({model.name: model}, tasks_of(config, suite), datasets)
        raise UserError("; ".join(map(str, lines)))
    with tracking.opened(config, cells, store) as tracker:
        study = Study(config, suite, datasets, cells, store, bars, stopping, tracker)
        train_words(study)
        _measure(study, shard)
    if tracker.outcome:
        print(tracker.outcome, flush=True)


def _measure(study: Study, shard: Shard) -> None:
    """Measures the shard's words, tells the tracker, and writes the new rows as one part."""
    config, folder = study.config, study.config.folder
    trained, _ = survey.settled(folder, shard)
    if not trained or survey.is_complete(config, shard):
        study.tracker.conclude(None)
        return
    parts = folder / "checkpoints" / f"measured~{shard.file_name}"
    earlier = survey.earlier_parts(folder, shard)
    before = survey.rows_in(earlier) | measured(parts)
    measure_words(study, before, parts, shard.holds)
    new = results.read(parts) if any((parts / "results").glob("*.parquet")) else None
    # before the part is there that makes the shard a finished one: a job killed here does it again
    study.tracker.conclude(_of_shard(shard, earlier, new))
    rows = [] if new is None else [Record(**row) for row in new.to_dict("records")]
    results.write_part(folder, rows, shard.part_key(trained))
    shutil.rmtree(parts, ignore_errors=True)  # an orphan of this job may write there still


def _of_shard(
    shard: Shard, earlier: Sequence[Path], new: pd.DataFrame | None
) -> pd.DataFrame | None:
    """The new rows of a shard, and those that earlier parts of the results hold of it."""
    frames = [] if new is None else [new]
    for path in earlier:
        with contextlib.suppress(UserError):  # what is none of results
            frames.append(results.read(path))
    if not frames:
        return None
    frame = pd.concat(frames, ignore_index=True).drop_duplicates(results.IDENTITY)
    return frame[[shard.holds(spec) for spec in specs_of(frame)]]


def _planned(config: Config) -> list[Shard]:
    """The shards of what the datasets have the images for."""
    return shards(config, survey.left_out(config.folder)[0])


def _has_failed(config: Config, shard: Shard) -> bool:
    last = survey.last_event(config.folder, shard)
    return last is not None and last.what == history.FAILED


def _count(config: Config, shard: Shard) -> int:
    return len(survey.settled(config.folder, shard)[0])
