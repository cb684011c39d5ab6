"""The files of words that somebody has: found in folders, and read one by one."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vwtransfer.words.containers import is_plain_picture

SUFFIXES = (".safetensors", ".bin", ".pt", ".pti", ".png")
RECORD = "converted.csv"
"""A folder with this file holds words that were written here; they are not converted again."""


@dataclass(frozen=True)
class Input:
    """A file that may hold words.

    Attributes:
        file: where it is.
        root: the folder that was named, or that the named file is in: what is written goes below.
    """

    file: Path
    root: Path

    @property
    def shown(self) -> str:
        """What tables call it."""
        return str(self.file.relative_to(self.root))

    @property
    def stem(self) -> Path:
        """What a word of it is called, below the root: without its suffix.

        A file of the concept library is called learned_embeds, and its folder as the word.
        """
        short = self.file.relative_to(self.root).with_suffix("")
        if short.name != "learned_embeds":
            return short
        return short.parent if short.parent.name else Path(self.file.resolve().parent.name)

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def found(given: Sequence[Path]) -> tuple[list[Input], int]:
    """The files that may hold words, each once, and how many pictures without any are left out.

    Args:
        given: files, and folders that are searched with those in them; files that are not there
            are among the results, to be named when they are read.
    """
    inputs: dict[Path, Input] = {}
    pictures = 0
    for path in given:
        for file in _in_folder(path) if path.is_dir() else [path]:
            if path.is_dir() and is_plain_picture(file):
                pictures += 1
            else:
                root = path if path.is_dir() else path.parent
                inputs.setdefault(file.absolute(), Input(file, root))
    return list(inputs.values()), pictures


def _in_folder(folder: Path) -> Iterator[Path]:
    """Files with a word's suffix, in order; nothing hidden, and nothing that was converted."""
    here = sorted(folder.iterdir())
    for path in here:
        if path.name.startswith(".") or (path.is_dir() and (path / RECORD).exists()):
            continue
        if path.is_dir():
            yield from _in_folder(path)
        elif path.suffix.lower() in SUFFIXES:
            yield path
