"""What a model reads of calibration prompts, kept in files: at published sizes it takes minutes.

A file is found again by the hash of the encoders' weights, of the prompts and of where they are
read, so that a map between two models that were read before is made at once. Prompts are read in
parts, a file each, so that a reading that was interrupted goes on.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vwtransfer.files import write_atomically
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.transfer.prompts import Bank, Phrase, bank, encoded_phrases

PART = 2000  # prompts of a file
Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptReadings:
    """Where readings are kept, and where it is shown how far one is.

    Attributes:
        folder: None: nothing is kept.
        stage: see `progress.Stages.stage`; None: nothing is shown.
    """

    folder: Path | None = None
    stage: Stage | None = None

    def bank(
        self,
        space: EmbeddingSpace,
        templates: Sequence[str],
        phrases: Sequence[Phrase],
        read_positions: Sequence[str],
    ) -> Bank:
        """What a model reads of phrases in each of the templates, at the positions."""
        size = len(phrases) if self.folder is None else PART
        parts = [phrases[start : start + size] for start in range(0, len(phrases), size)]
        how = list(templates), list(read_positions)
        paths = [self._path(space, *how, part) for part in parts]
        kept = [None if path is None else _kept(path) for path in paths]
        lacking = sum(len(part) for part, own in zip(parts, kept, strict=True) if own is None)
        states = []
        with self._stage(space, lacking * len(templates)) as advance:
            for path, part, found in zip(paths, parts, kept, strict=True):
                states_BRF = _read(space, *how, part, advance) if found is None else found
                if path is not None and found is None:
                    _keep(path, states_BRF)
                states.append(states_BRF.to(space.device))
        return bank(space, templates, phrases, read_positions, torch.cat(states))

    def _stage(
        self, space: EmbeddingSpace, lacking: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        if self.stage is None or not lacking:
            return nullcontext(_unseen)
        return self.stage(f"{space.model} reads prompts", lacking)

    def _path(
        self,
        space: EmbeddingSpace,
        templates: Sequence[str],
        read_positions: Sequence[str],
        phrases: Sequence[Phrase],
    ) -> Path | None:
        if self.folder is None:
            return None
        what = [space.weights_identity, templates, read_positions, list(phrases)]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
        return self.folder / f"readings-{key}.safetensors"


def _read(
    space: EmbeddingSpace,
    templates: Sequence[str],
    read_positions: Sequence[str],
    phrases: Sequence[Phrase],
    advance: Callable[[int], None],
) -> Tensor:
    """States [B, T P, F] of phrases."""
    parts = [encoded_phrases(space, t, phrases, read_positions, advance) for t in templates]
    return torch.cat(parts, dim=1)


def _unseen(_done: int) -> None:
    """Where nobody watches."""


def _kept(path: Path) -> Tensor | None:
    """What is kept at `path`; None where there is nothing, or it is damaged."""
    if not path.exists():
        return None
    try:
        return load_file(path)["states"]
    except (SafetensorError, KeyError):
        log.warning("transfer: %s is damaged; the prompts are read again.", path)
        return None


def _keep(path: Path, states_BRF: Tensor) -> None:
    tensors = {"states": states_BRF.cpu().contiguous()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))
