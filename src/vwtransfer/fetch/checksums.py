"""Hashes of files: as published, and as first seen."""

import hashlib
from dataclasses import dataclass
from functools import partial
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
    name, header = kind, b""
    if kind == "git-sha1":
        name, header = "sha1", f"blob {path.stat().st_size}\0".encode()
    with path.open("rb") as file:
        started = partial(hashlib.new, name, header, usedforsecurity=False)
        return hashlib.file_digest(file, started).hexdigest()
