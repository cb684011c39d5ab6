"""What a model reads of calibration prompts, kept in files: at published sizes it takes minutes.

A file is found again by the hash of the encoders' weights, of the prompts and of where they are
read, so that a map between two models that were read before is made at once.
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

        def states() -> Tensor:
            name, total = f"{space.model} reads prompts", len(phrases) * len(templates)
            stage = nullcontext(_unseen) if self.stage is None else self.stage(name, total)
            with stage as advance:
                parts = [
                    encoded_phrases(space, template, phrases, read_positions, advance)
                    for template in templates
                ]
            return torch.cat(parts, dim=1)

        if self.folder is None:
            return bank(space, templates, phrases, read_positions, states())
        what = [space.weights_identity, list(templates), list(read_positions), list(phrases)]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
        states_BRF = _kept(self.folder / f"readings-{key}.safetensors", states)
        return bank(space, templates, phrases, read_positions, states_BRF.to(space.device))


def _unseen(_done: int) -> None:
    """Where nobody watches."""


def _kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """The tensor that is kept at `path`, or made and kept there."""
    if path.exists():
        try:
            return load_file(path)["states"]
        except (SafetensorError, KeyError):
            log.warning("transfer: %s is damaged; the prompts are read again.", path)
    states_BRF = make()
    tensors = {"states": states_BRF.cpu().contiguous()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))
    return states_BRF
