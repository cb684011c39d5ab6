"""The format of a trained word: its vectors, and where they come from, in one safetensors file.

A word lies at words/<dataset>/<model>/<concept>/<anchor>-<delta>-<seed>.safetensors of its run.
The tensor `vectors` is [K, D] float32. The metadata (strings) hold its cell (dataset, model,
concept, anchor, delta, seed), the model's task, the tokens that its anchor is read as, the hash of
the model's tokenizers and embedding tables, the fingerprint of all that determined it, its last
loss, the seconds it took and where it was made (device, host, commit, versions); where its bits may
differ from those of an undisturbed job, a note that says why; and where it stopped, if it might
before the last step. A word that diverged leaves a .failed.json of the same name instead.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.config.origin import UNKNOWN, Origin
from vwtransfer.config.saved import read_mapping
from vwtransfer.errors import UserError, quoted
from vwtransfer.files import write_json, write_once
from vwtransfer.words.cells import Cell
from vwtransfer.words.vectors import LARGEST_FILE, fault


@dataclass(frozen=True)
class Word:
    """A trained word.

    Attributes:
        cell: which word it is.
        vectors_KD: its vectors [K, D], float32.
        task: its model's.
        table: hash of the tokenizers and embedding tables that the vectors live beside.
        fingerprint: hash of everything that determined the word.
        loss: mean training loss over the last tenth of the steps; of a word that may stop before,
            on the fixed images and noise of `training.stopping`.
        seconds: wall time of its training, its share of the pack it was trained in.
        note: why its bits may differ from those of an undisturbed job, where they may.
        anchor_tokens: what each text encoder of its model reads its anchor as.
        stopped: at which step it stopped and why; empty where it trained all that were asked for.
        made: where: device, host, commit and versions of the process that trained it.
    """

    cell: Cell
    vectors_KD: Tensor
    task: str
    table: str
    fingerprint: str
    loss: float
    seconds: float
    note: str = ""
    anchor_tokens: str = ""
    stopped: str = ""
    made: Origin = UNKNOWN


@dataclass(frozen=True)
class Failure:
    """A word that could not be trained: when and why."""

    cell: Cell
    step: int
    reason: str


class WordStore:
    """The words of one run, a file each. What is there is finished and never rewritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: Cell) -> Path:
        """Where the word lies, or will."""
        return self.folder / f"{cell.key}.safetensors"

    def __contains__(self, cell: Cell) -> bool:
        return self.path(cell).exists()

    def save(self, word: Word) -> None:
        """Writes a word whole, or not at all; the first whole one stands.

        Raises:
            UserError: the disk is full or the folder may not be written to.
        """
        if word.cell in self:
            return
        metadata = {
            **{name: str(value) for name, value in asdict(word.cell).items()},
            "task": word.task,
            "table": word.table,
            "fingerprint": word.fingerprint,
            "loss": repr(word.loss),
            "seconds": repr(word.seconds),
            **({"note": word.note} if word.note else {}),
            "anchor_tokens": word.anchor_tokens,
            **({"stopped": word.stopped} if word.stopped else {}),
            **asdict(word.made),
            "format": "pt",
        }
        tensors = {"vectors": word.vectors_KD.float().contiguous().cpu()}
        write_once(self.path(word.cell), lambda path: save_file(tensors, path, metadata))
        self._failed(word.cell).unlink(missing_ok=True)

    def load(self, cell: Cell, width: int | None = None) -> Word:
        """Reads a word.

        Args:
            cell: which one.
            width: D of the model it is for.

        Raises:
            UserError: the file is missing, damaged, another word's, or of another model's width.
        """
        word = load_word(self.path(cell), width)
        if replace(word.cell, model=cell.model) != cell:
            raise UserError(
                f"{self.path(cell)} holds another word, {quoted(word.cell.key)}. Delete it to "
                "train the word again."
            )
        return word

    def save_failure(self, failure: Failure) -> None:
        """Records that a word failed; it counts as neither done nor missing."""
        record = {"step": failure.step, "reason": failure.reason}
        write_json(self._failed(failure.cell), record)

    def failure(self, cell: Cell) -> Failure | None:
        """Why the word failed, if it did."""
        path = self._failed(cell)
        if not path.exists():
            return None
        try:
            record = read_mapping(path)
            return Failure(cell, int(record["step"]), str(record["reason"]))
        except (UserError, LookupError, TypeError, ValueError):  # that it failed is known
            return Failure(cell, 0, f"not known: {path.name} is damaged")

    def forget_failure(self, cell: Cell) -> None:
        """Makes a failed word a missing one again."""
        self._failed(cell).unlink(missing_ok=True)

    def _failed(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key}.failed.json"


def load_word(path: Path, width: int | None = None) -> Word:
    """Reads one word file; see `WordStore.load`."""
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_FILE):
            raise ValueError("no file of a word's size")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            vectors_KD = file.get_tensor("vectors")
        names = "dataset", "model", "concept", "anchor"
        dataset, model, concept, anchor = (metadata[name] for name in names)
        delta, seed = float(metadata["delta"]), int(metadata["seed"])
        cell = Cell(dataset, model, concept, anchor, delta, seed)
        rest = metadata["task"], metadata["table"], metadata["fingerprint"]
        numbers = float(metadata["loss"]), float(metadata["seconds"])
        texts = {each: metadata.get(each, "") for each in ("note", "anchor_tokens", "stopped")}
        made = Origin(*(metadata.get(name, "") for name in Origin.__dataclass_fields__))
        if wrong := fault(vectors_KD):
            raise ValueError(f"its tensor {wrong}")
    except FileNotFoundError as error:
        raise UserError(f"there is no word at {path}") from error
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a whole word file ({quoted(error)}). Copy it anew, or delete it: its "
            "study then trains the word again."
        ) from error
    if width is not None and vectors_KD.shape[1] != width:
        raise UserError(
            f"{path} holds vectors of width {vectors_KD.shape[1]}, but the model reads {width}. "
            "It was trained for another model: map it with a transfer, or name the model it is of."
        )
    return Word(cell, vectors_KD.to(torch.float32), *rest, *numbers, **texts, made=made)
