"""Hashes of files: as published, and as first seen."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PIECE = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class Digest:
    """A published hash.

    Attributes:
        kind: git-sha1 is what git calls a file's content by: SHA-1 behind a header.
        value: in hexadecimal.
    """

    kind: Literal["md5", "sha256", "git-sha1"]
    value: str


def digest_of(path: Path, kind: str) -> str:
    """The hash of a file of this kind, in hexadecimal."""
    if kind == "git-sha1":
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        found = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()
