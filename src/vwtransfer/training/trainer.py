"""Trains the words of one model and dataset, many at once, and survives being killed.

All words of a job train as one batch, in as many chunks as memory allows. Words share no state:
each has its own images, noise, loss and optimiser moments, so that a word comes out the same
alone, in a pack or in another order.

Shapes: N words, K vectors per word, D embedding width, B batch.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from vwtransfer.config import TrainerConfig
from vwtransfer.config.origin import this_process
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.models import Objective
from vwtransfer.models.devices import device_name, wait_for
from vwtransfer.training.chunks import Chunk, halve, job_folder, partition, words_that_fit
from vwtransfer.training.regularizers import Regularizer, regularizers
from vwtransfer.training.stopping import CHECK, images_of_checks
from vwtransfer.training.stopping import due as check_due
from vwtransfer.training.word_batches import NEVER, WordBatch, words_in
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Failure, Word, WordStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one call trains.

    Attributes:
        model: frozen, and its loss.
        dataset: whose training images the words see.
        cells: the words, all of this model and dataset.
        settings: what holds for words of every model.
        store: where finished words lie; they are never trained again.
        folder: where checkpoints lie.
        fingerprint: hash of everything that determines a word.
        on_step: told after each step: the words, and the loss [N] of each.
        on_settled: told which words are finished or failed.
    """

    model: Objective
    dataset: Dataset
    cells: Sequence[Cell]
    settings: TrainerConfig
    store: WordStore
    folder: Path
    fingerprint: Callable[[Cell], str]
    on_step: Callable[[WordBatch, Tensor], None] = lambda batch, loss_N: None
    on_settled: Callable[[Sequence[Cell]], None] = lambda cells: None


def train(
    job: Job,
    advance: Callable[[int], None] = lambda steps: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Trains every word of the job that is neither finished nor failed (sections 4.3 and 5).

    Args:
        job: what to train.
        advance: told after each step how many word-steps were done.
        stopping: asked after each step; once true, a checkpoint is saved.

    Raises:
        KeyboardInterrupt: `stopping` was true; the words continue from the checkpoint.
        UserError: the model or an image does not load, or the disk is full.
    """
    waiting = [cell for cell in job.cells if not _settled(job.store, cell)]
    if not waiting:
        return
    folder = job_folder(job.folder, job.cells)
    features = job.model.features(job.dataset)

    def loss_of(count: int) -> Tensor:
        cells = waiting[:1] * count
        pack = _start(job, cells)
        images_NB = _batches(job, features, cells)[0]
        loss_N = job.model.loss(pack.vectors_NKD, features, images_NB, cells, 0)
        return loss_N + sum(penalty(pack.vectors_NKD) for penalty in _regularizers(job, pack))

    def fitting() -> int:
        return words_that_fit(loss_of, job.model.text.device)

    try:
        limit = job.settings.max_words_in_flight
        for chunk in partition(folder, job.cells, waiting, limit, fitting):
            _train_in_parts(job, features, chunk, folder, advance, stopping)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the device's memory does not hold a single word of {job.model.name} in training "
            f"({error}). Take a half type (model.{job.model.name}.dtype), what trades memory for "
            "time (memory_savers) or a larger device."
        ) from error
    # another process of the same job, which a failing node left behind, may write here still
    shutil.rmtree(folder, ignore_errors=True)


def _settled(store: WordStore, cell: Cell) -> bool:
    return cell in store or store.failure(cell) is not None


def _train_in_parts(
    job: Job,
    features: Any,
    chunk: Chunk,
    folder: Path,
    advance: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Trains a chunk; where memory does not hold it, one half after the other."""
    if all(_settled(job.store, cell) for cell in chunk.cells):
        return
    try:
        _train_chunk(job, features, chunk, chunk.checkpoint(folder), advance, stopping)
        return
    except torch.OutOfMemoryError:
        if len(chunk.cells) == 1:
            raise
    # here the failed step's tensors are free
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    for half in halve(folder, chunk):
        _train_in_parts(job, features, half, folder, advance, stopping)


def _train_chunk(
    job: Job,
    features: Any,
    chunk: Chunk,
    checkpoint: Path,
    advance: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    steps = job.model.training.steps
    pack = _resume(job, chunk, checkpoint) or _start(job, chunk.cells, chunk.note)
    advance(pack.step * len(pack.cells) + steps * (len(chunk.cells) - len(pack.cells)))
    images_SNB = _batches(job, features, pack.cells)
    added = _regularizers(job, pack)
    while pack.step < steps:
        began = time.perf_counter()
        loss_N = job.model.loss(
            pack.vectors_NKD, features, images_SNB[pack.step], pack.cells, pack.step
        )
        for penalty in added:
            loss_N = loss_N + penalty(pack.vectors_NKD)
        pack.optimiser.param_groups[0]["lr"] = _learning_rate(job, pack.step)
        pack.update(loss_N, in_tail=pack.step >= steps - _tail(steps))
        stopped = _stopped(job, features, pack, images_SNB)
        due = bool(stopped) or pack.step % job.settings.checkpoint_every == 0 or pack.step == steps
        if due:
            wait_for(job.model.text.device)
        pack.seconds += (time.perf_counter() - began) / len(pack.cells)
        job.on_step(pack, loss_N.detach())
        advance(len(pack.cells) + len(stopped) * (steps - pack.step))
        if len(stopped) == len(pack.cells):
            break
        if stopped:
            _finish(job, pack, stopped)
            rest = [n for n in range(len(pack.cells)) if n not in stopped]
            pack.keep(rest)
            images_SNB, added = images_SNB[:, rest], _regularizers(job, pack)
        stop = stopping()
        if stop or due:
            pack.save(checkpoint)
        if stop:
            raise KeyboardInterrupt
    _finish(job, pack, range(len(pack.cells)))
    checkpoint.unlink(missing_ok=True)


@torch.no_grad()
def _stopped(job: Job, features: Any, pack: WordBatch, images_SNB: Tensor) -> list[int]:
    """Which words have learned what they can; see `stopping`."""
    if pack.stopping is None or not check_due(pack.step, len(images_SNB)):
        return []
    images_NB, words_NKD = images_of_checks(images_SNB), pack.vectors_NKD.detach()
    losses = []
    for n, cell in enumerate(pack.cells):  # each by itself: a sum's order goes by the batch
        mine = slice(n, n + 1)
        loss_1 = job.model.loss(words_NKD[mine], features, images_NB[mine], [cell], CHECK)
        for penalty in regularizers(
            job.settings, job.model, pack.centre_ND[mine], job.dataset, [cell]
        ):
            loss_1 = loss_1 + penalty(words_NKD[mine])
        losses.append(loss_1)
    stops_N = pack.stopping.check(words_NKD, torch.cat(losses)) | (pack.failed_N != NEVER)
    return [n for n, stops in enumerate(stops_N.tolist()) if stops and pack.step < len(images_SNB)]


def _regularizers(job: Job, pack: WordBatch) -> list[Regularizer]:
    return regularizers(job.settings, job.model, pack.centre_ND, job.dataset, pack.cells)


def _start(job: Job, cells: Sequence[Cell], note: str = "") -> WordBatch:
    settings = job.settings
    optimiser = {
        "lr": job.model.training.learning_rate,
        "betas": tuple(settings.betas),
        "eps": settings.eps,
    }
    pack = WordBatch.start(
        cells,
        job.model.text,
        settings.num_vectors,
        optimiser,
        direction_only=settings.parametrization == "direction",
        stops=settings.stop == "loss",
    )
    pack.note = note
    return pack


def _resume(job: Job, chunk: Chunk, checkpoint: Path) -> WordBatch | None:
    """The pack at its last checkpoint; None where there is none that can be read."""
    try:
        running = words_in(checkpoint)
        cells = [cell for cell in chunk.cells if cell.key in running]
        if not all(_settled(job.store, cell) for cell in chunk.cells if cell not in cells):
            return None
        pack = _start(job, cells, chunk.note)
        return pack if pack.restore(checkpoint) else None
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        _log.warning("%s is damaged (%s): its words are begun anew", checkpoint, error)
        return None


def _learning_rate(job: Job, step: int) -> float:
    """Of a step, counted from 0."""
    training = job.model.training
    if job.settings.schedule == "constant":
        return training.learning_rate
    return training.learning_rate * (1 + math.cos(math.pi * step / training.steps)) / 2


def _batches(job: Job, features: Any, cells: Sequence[Cell]) -> Tensor:
    """Which images [steps, N, B] each word sees at each step."""
    batches = [job.model.batches(features, cell) for cell in cells]
    return torch.stack(batches, dim=1).to(job.model.text.device)


def _tail(steps: int) -> int:
    """How many of the last steps a word's recorded loss is averaged over."""
    return max(1, steps // 10)


def _finish(job: Job, pack: WordBatch, chosen: Sequence[int]) -> None:
    """Writes some words of a trained pack, by their places, and the failures among them."""
    loss_N = pack.tail_N / _tail(job.model.training.steps)
    vectors_NKD = pack.vectors_NKD.detach()
    if pack.stopping is not None:
        loss_N, vectors_NKD = pack.stopping.best_N, pack.stopping.best_NKD
    text, made = job.model.text, this_process(device_name(job.model.text.device))
    for n in chosen:
        cell, failed = pack.cells[n], int(pack.failed_N[n])
        if failed == NEVER and bool(vectors_NKD[n].isfinite().all()):
            word = Word(
                cell=cell,
                vectors_KD=vectors_NKD[n],
                task=job.model.task,
                table=text.identity,
                fingerprint=job.fingerprint(cell),
                loss=float(loss_N[n]),
                seconds=pack.seconds,
                note=pack.note,
                stopped=_end(pack, job.model.training.steps),
                anchor_tokens=json.dumps(text.anchor_tokens(cell.anchor), ensure_ascii=False),
                made=made,
            )
            job.store.save(word)
        else:
            step = failed if failed != NEVER else pack.step
            job.store.save_failure(Failure(cell, step, "loss or vectors stopped being finite"))
    job.on_settled([pack.cells[n] for n in chosen])


def _end(pack: WordBatch, steps: int) -> str:
    """At which step a word stopped that may stop before the last, and why."""
    if pack.stopping is None:
        return ""
    early = "its loss had stopped falling" if pack.step < steps else "the last that it may take"
    return f"step {pack.step}: {early}"
