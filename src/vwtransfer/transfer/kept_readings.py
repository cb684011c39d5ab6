"""What a model reads of calibration prompts, kept: at published sizes it takes minutes.

A reading is found again by the hash of the encoders' weights, of what they make of a first prompt,
of the prompts and of where they are read, so that a map between two models that were read before is
made at once. Prompts are read in parts, so that a reading that was interrupted goes on.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from vwtransfer.models.cache import Cache
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.transfer.prompts import END, Bank, Phrase, bank, encoded_phrases

PART = 2000  # prompts of an entry
Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
_LIBRARIES = ("torch", "transformers", "open_clip_torch")


@dataclass(frozen=True)
class KeptReadings:
    """Where readings are kept, and where it is shown how far one is.

    Attributes:
        cache: None: nothing is kept.
        stage: see `progress.Stages.stage`; None: nothing is shown.
    """

    cache: Cache | None = None
    stage: Stage | None = None

    def bank(
        self,
        space: EmbeddingSpace,
        templates: Sequence[str],
        phrases: Sequence[Phrase],
        read_positions: Sequence[str],
    ) -> Bank:
        """What a model reads of phrases in each of the templates, at the positions."""
        states_BRF = self.states(space, templates, phrases, read_positions)
        return bank(space, templates, phrases, read_positions, states_BRF)

    def states(
        self,
        space: EmbeddingSpace,
        templates: Sequence[str],
        phrases: Sequence[Phrase],
        read_positions: Sequence[str] = END,
    ) -> Tensor:
        """The states [B, R, F] themselves, on the encoders' device."""
        parts = [phrases[start : start + PART] for start in range(0, len(phrases), PART)]
        how = list(templates), list(read_positions)
        keys = [self._key(space, *how, part) for part in parts] if self.cache else []
        kept = [self.cache.read(key) for key in keys] if self.cache else [None] * len(parts)
        lacking = sum(len(part) for part, own in zip(parts, kept, strict=True) if own is None)
        states = []
        with self._stage(space, lacking * len(templates)) as advance:
            for number, (part, found) in enumerate(zip(parts, kept, strict=True)):
                if found is None:
                    found = {"states": _read(space, *how, part, advance)}
                    if self.cache:
                        self.cache.write(keys[number], found)
                states.append(found["states"].to(space.device))
        return torch.cat(states)

    def _stage(
        self, space: EmbeddingSpace, lacking: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        if self.stage is None or not lacking:
            return nullcontext(_unseen)
        return self.stage(f"{space.model} reads prompts", lacking)

    def _key(
        self,
        space: EmbeddingSpace,
        templates: Sequence[str],
        read_positions: Sequence[str],
        phrases: Sequence[Phrase],
    ) -> str:
        first = _read(space, templates, read_positions, phrases[:1], _unseen)
        what: list[Any] = [space.weights_identity, space.device.type, first.tolist()]
        what += [f"{name} {version(name)}" for name in _LIBRARIES]
        what += [list(templates), list(read_positions), list(phrases)]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


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
