"""Which words train together: as many as memory holds, written down before the first step.

A word's bits can depend on its chunk (sums are ordered by the size of a batch), so the partition
is kept: a job that is started again trains in the same chunks.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from torch import Tensor

from vwtransfer.errors import quoted
from vwtransfer.files import write_json, write_once
from vwtransfer.training.peak_memory import peak_bytes
from vwtransfer.training.word_batches import split
from vwtransfer.words.cells import Cell, parse_key

PARTITION = "partition.json"
MOST_WORDS = 256
_log = logging.getLogger(__name__)
CPU_SHARE, GPU_SHARE = 0.25, 0.7  # of the free memory, for what a step takes at its peak


def job_folder(folder: Path, cells: Sequence[Cell]) -> Path:
    """Where the job that trains exactly these cells keeps its partition and checkpoints."""
    return folder / _digest(cells)


@dataclass(frozen=True)
class Chunk:
    """Words that train as one batch.

    Attributes:
        cells: which.
        note: why their bits may differ from those of an undisturbed job, where they may.
    """

    cells: tuple[Cell, ...]
    note: str = ""

    def checkpoint(self, folder: Path) -> Path:
        """The file, in the job's folder, that the chunk continues from."""
        return folder / f"chunk-{_digest(self.cells)}.safetensors"


def partition(
    folder: Path,
    cells: Sequence[Cell],
    waiting: Sequence[Cell],
    limit: int | None,
    fitting: Callable[[], int],
) -> list[Chunk]:
    """The chunks of a job: those of its first start if it was started before.

    Args:
        folder: the job's folder.
        cells: all words of the job.
        waiting: those to train, at the first start.
        limit: words in a chunk; None for what `fitting` measures.
        fitting: how many words memory holds.
    """
    path = folder / PARTITION
    former = _read(path)
    if former is None:
        size = limit if limit is not None else fitting()
        others = len(cells) - len(waiting)
        note = f"trained apart from {others} of the {len(cells)} words of its job" * bool(others)
        chunks = [Chunk(tuple(waiting[i : i + size]), note) for i in range(0, len(waiting), size)]
        record = {"words_in_flight": size, "measured": limit is None, **_plain(chunks)}
        text = json.dumps(record, indent=2)
        write_once(path, lambda temporary: temporary.write_text(text, "utf-8"))
        former = _read(path)  # perhaps another process's
        assert former is not None, path
    return former


def halve(folder: Path, chunk: Chunk) -> list[Chunk]:
    """Two chunks in place of one that does not fit into memory; they continue where it was."""
    note = f"its chunk of {len(chunk.cells)} words was halved when memory ran out"
    middle = len(chunk.cells) // 2
    halves = [Chunk(chunk.cells[:middle], note), Chunk(chunk.cells[middle:], note)]
    checkpoint = chunk.checkpoint(folder)
    if checkpoint.exists():
        try:
            split(checkpoint, {half.checkpoint(folder): half.cells for half in halves}, note)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            _log.warning("%s is damaged (%s): its words are begun anew", checkpoint, error)
    path = folder / PARTITION
    record = json.loads(path.read_text(encoding="utf-8"))
    chunks = record["chunks"]
    words = [cell.key for cell in chunk.cells]
    place = next((i for i, former in enumerate(chunks) if former["words"] == words), None)
    if place is not None:  # else another process of the same job has halved it
        chunks[place : place + 1] = _plain(halves)["chunks"]
        write_json(path, record)
    checkpoint.unlink(missing_ok=True)
    return halves


def _read(path: Path) -> list[Chunk] | None:
    """The chunks written down at `path`; None where none are, or what is there is damaged."""
    try:
        return [
            Chunk(tuple(parse_key(key) for key in chunk["words"]), chunk["note"])
            for chunk in json.loads(path.read_text(encoding="utf-8"))["chunks"]
        ]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        _log.warning("%s is damaged (%s): its words are divided anew", path, quoted(error))
        path.unlink(missing_ok=True)
        return None


def _plain(chunks: Sequence[Chunk]) -> dict[str, Any]:
    return {
        "chunks": [
            {"words": [cell.key for cell in chunk.cells], "note": chunk.note} for chunk in chunks
        ]
    }


def _digest(cells: Sequence[Cell]) -> str:
    return hashlib.sha256("\n".join(cell.key for cell in cells).encode()).hexdigest()[:12]


def words_that_fit(loss_of: Callable[[int], Tensor], device: torch.device) -> int:
    """How many words' steps fit into free memory, measured before the first step.

    Args:
        loss_of: the loss of so many words, ready for its backward.
        device: whose memory it is.
    """
    try:
        each = bytes_of_a_word(loss_of)
    except torch.OutOfMemoryError:
        return 1
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what was just tried is free again
        budget = torch.cuda.mem_get_info(device)[0] * GPU_SHARE
    else:
        budget = psutil.virtual_memory().available * CPU_SHARE
    return max(1, min(MOST_WORDS, int(budget / max(1, each))))


def bytes_of_a_word(loss_of: Callable[[int], Tensor]) -> int:
    """Bytes that a step, forward and backward, takes at its peak with each word more.

    What does not grow with the words, such as what is read of the frozen weights, is left out: it
    is the difference between two words and one.
    """

    def step(count: int) -> None:
        loss_of(count).sum().backward()

    return peak_bytes(partial(step, 2)) - peak_bytes(partial(step, 1))
