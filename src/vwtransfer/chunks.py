"""Which words train together: as many as memory holds, written down before the first step.

A word's bits can depend on its chunk (sums are ordered by the size of a batch), so the partition
is kept: a job that is started again trains in the same chunks.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor

from vwtransfer.files import write_json
from vwtransfer.grid import Cell, parse_key

MOST_WORDS = 256
CPU_SHARE, GPU_SHARE = 0.25, 0.7  # of the free memory, for what a step keeps for its backward


def job_folder(folder: Path, cells: Sequence[Cell]) -> Path:
    """Where the job that trains exactly these cells keeps its partition and checkpoints."""
    digest = hashlib.sha256("\n".join(cell.key for cell in cells).encode()).hexdigest()[:12]
    return folder / digest


def partition(
    folder: Path, waiting: Sequence[Cell], limit: int | None, fitting: Callable[[], int]
) -> list[list[Cell]]:
    """The chunks of a job: those of its first start if it was started before.

    Args:
        folder: the job's folder.
        waiting: the words to train, at the first start.
        limit: words in a chunk; None for what `fitting` measures.
        fitting: how many words memory holds.
    """
    path = folder / "partition.json"
    if path.exists():
        chunks = json.loads(path.read_text(encoding="utf-8"))["chunks"]
        return [[parse_key(key) for key in chunk] for chunk in chunks]
    size = limit if limit is not None else fitting()
    chunks = [list(waiting[i : i + size]) for i in range(0, len(waiting), size)]
    keys = [[cell.key for cell in chunk] for chunk in chunks]
    write_json(path, {"words_in_flight": size, "measured": limit is None, "chunks": keys})
    return chunks


def words_that_fit(loss_of_one: Callable[[], Tensor], device: torch.device) -> int:
    """How many words' activations fit into free memory, measured on one word's forward pass."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss_of_one()
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] * GPU_SHARE
    else:
        budget = psutil.virtual_memory().available * CPU_SHARE
    return max(1, min(MOST_WORDS, int(budget / max(1, sum(storages.values())))))
