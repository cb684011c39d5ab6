"""Loading frozen checkpoints by their libraries' own methods, with errors that teach."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vwtransfer.errors import UserError

Alternatives = tuple[str, ...]  # of one of these names a checkpoint must hold a file


def weights(name: str) -> Alternatives:
    """The usual names of a weight file, whole or in shards."""
    kinds = ("safetensors", "bin", "safetensors.index.json", "bin.index.json")
    return tuple(f"{name}.{kind}" for kind in kinds)


FILES: tuple[Alternatives, ...] = (
    ("config.json",),
    weights("model") + weights("pytorch_model"),
    ("preprocessor_config.json", "processor_config.json"),
)
"""Of a model of transformers that sees images."""
CLIPS_TOKENS: tuple[Alternatives, ...] = (
    ("vocab.json", "tokenizer.json"),
    ("merges.txt", "tokenizer.json"),
)


class MissingCheckpointError(UserError):
    """Weights that are not on this machine, and cannot be fetched now."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a frozen model comes from.

    Attributes:
        key: where it stands in the config, such as "model.generation".
        source: folder, hub id, or one file with a whole model, of which text encoders are read.
        revision: branch, tag or commit of the hub's repository; None for its main branch.
        files: what loading it reads, each by its usual names.
    """

    key: str
    source: str
    revision: str | None
    files: Sequence[Alternatives]

    @property
    def single_file(self) -> bool:
        """Whether it is one file with a whole model."""
        return Path(self.source).is_file()

    def folder(self) -> Path | None:
        """Where it lies on this machine; None if nothing of it does."""
        if Path(self.source).is_dir():
            return Path(self.source)
        from huggingface_hub import try_to_load_from_cache

        for name in (name for names in self.files for name in names):
            try:
                cached = try_to_load_from_cache(self.source, name, revision=self.revision)
            except ValueError:  # no hub id
                return None
            if isinstance(cached, str):
                return Path(cached.removesuffix(name))
        return None

    def missing(self) -> list[str]:
        """The files that are not on this machine, by the first of their usual names."""
        if self.single_file:
            return []
        folder = self.folder()
        return [
            names[0]
            for names in self.files
            if folder is None or not any((folder / name).is_file() for name in names)
        ]

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Turns what the libraries raise on a bad checkpoint into one clear line.

        Raises:
            MissingCheckpointError: a file is not there, and there is no network to fetch it from.
            UserError: a file is cut off, or holds the weights of another architecture.
        """
        _hush()
        where = f"{self.key}.checkpoint={self.source}"
        if _is_path(self.source) and not Path(self.source).exists():
            raise MissingCheckpointError(f"{where}: there is no such folder")
        if self.missing() and (Path(self.source).is_dir() or not _hub_answers()):
            raise MissingCheckpointError(self._lacks())
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            name = type(error).__name__
            if self.missing():
                raise MissingCheckpointError(self._lacks()) from error
            if not isinstance(error, OSError | RuntimeError | ValueError | KeyError) and (
                name not in ("SafetensorError", "UnpicklingError")
            ):
                raise
            raise UserError(f"{where} does not load: {_reason(name, str(error))}") from error

    def read(self, kind: Any, **options: Any) -> Any:
        """What a class's own `from_pretrained` makes of it.

        Raises:
            UserError: as `loading`.
        """
        with self.loading():
            return kind.from_pretrained(self.source, revision=self.revision, **options)

    def _lacks(self) -> str:
        missing = self.missing()
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        where = f"{self.key}.checkpoint={self.source} does not load"
        if Path(self.source).is_dir():
            return f"{where}: this folder lacks {missing[0]}{more}."
        revision = f" --revision {self.revision}" if self.revision else ""
        silent = "" if offline() or _hub_answers() else f", and {_endpoint()} does not answer"
        return (
            f"{where}: {missing[0]}{more} of this repository is not on this machine{silent}. Fetch "
            f"with: hf download {self.source}{revision} {' '.join(missing)}"
        )


def offline() -> bool:
    """Whether a person has told the hub's library to leave the network alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _hub_answers() -> bool:
    return not offline() and _answers(_endpoint())


@cache
def _answers(endpoint: str) -> bool:
    """Whether a hub says anything: asked twice, where its client goes on asking for minutes."""
    from huggingface_hub import get_session

    for _ in range(2):
        with suppress(Exception):
            get_session().head(endpoint, timeout=10)
            return True
    return False


def pretrained(kind: Any, checkpoint: Checkpoint, device: torch.device, **options: Any) -> Any:
    """A frozen model by its class's own `from_pretrained`, with all of its weights.

    Args:
        kind: a model class of transformers or diffusers.
        checkpoint: where its weights are.
        device: where it runs.
        options: of `from_pretrained`; None stands for the library's own choice.

    Raises:
        UserError: as `Checkpoint.loading`.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    with checkpoint.loading():
        model, info = checkpoint.read(kind, output_loading_info=True, **chosen)
        refuse_incomplete(info)
    freeze(model, device)
    return model


def hub_folder(checkpoint: Checkpoint, weights: Sequence[str]) -> Path:
    """A folder with a checkpoint's small files and one of its weight files; fetched if need be.

    Args:
        checkpoint: a folder, which is returned as it is, or a hub id.
        weights: names of weight files, the preferred one first.
    """
    folder = checkpoint.folder()
    if folder is not None and not checkpoint.missing():
        return folder
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    source, revision = checkpoint.source, checkpoint.revision
    small = ["*.json", "merges.txt"]
    found = Path(snapshot_download(source, revision=revision, allow_patterns=small))
    for name in weights:
        try:
            hf_hub_download(source, name, revision=revision)
            break
        except EntryNotFoundError:
            continue
    return found


def _hush() -> None:
    """No bars of the libraries' own between ours, and no warnings of their own defaults."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # it warns that a SigLIP's end id is none of 32,000, which are no checkpoint's
    logging.getLogger("transformers.configuration_utils").setLevel(logging.ERROR)


def refuse_incomplete(info: dict[str, Any]) -> None:
    """Refuses a model whose weights were not all in the checkpoint.

    Args:
        info: what `from_pretrained(..., output_loading_info=True)` tells beside the model.
    """
    missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise ValueError(
            f"weights of another architecture ({len(missing)} tensors missing or of another "
            f"shape, such as {missing[0]})"
        )


def freeze(module: torch.nn.Module, device: torch.device) -> None:
    """Evaluation mode on `device`, no gradient to any weight."""
    module.eval().requires_grad_(False).to(device)


def share(tower: torch.nn.Module, model: torch.nn.Module) -> None:
    """Lets a whole model read text by a tower that was loaded alone, in place of its own copy.

    Args:
        tower: its parts have the names that they have in the model.
        model: what holds them there.
    """
    for name, part in (*tower.named_children(), *tower.named_parameters(recurse=False)):
        setattr(model, name, part)


def _is_path(source: str) -> bool:
    return source.startswith(("/", "./", "../", "~")) or source.count("/") > 1


def _reason(name: str, message: str) -> str:
    # diffusers keeps to itself what was wrong with the file
    if name == "SafetensorError" or "Unable to load weights from checkpoint" in message:
        return f"a weight file is cut off or damaged ({message})"
    if name == "UnpicklingError":
        return "a weight file is cut off, or holds code beside weights, which is never run"
    if "ignore_mismatched_sizes" in message:  # transformers prints which, and raises without
        return "weights of another architecture (tensors of another shape)"
    if "size mismatch" in message or ("shape" in message and "mismatch" in message):
        return f"weights of another architecture ({_first_line(message)})"
    return _first_line(message) or name


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
