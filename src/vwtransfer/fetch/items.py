"""A file to bring, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.fetch.checksums import Digest, digest_of


@dataclass(frozen=True)
class Item:
    """A file to bring.

    Attributes:
        address: http:// or https://.
        path: where it goes.
        most: bytes that it may have.
        size: bytes that it is published to have; None: nothing is.
        digest: its published hash; None: nothing is.
        check: raises UnusableError where a whole file is none that can be used.
    """

    address: str
    path: Path
    most: int
    size: int | None = None
    digest: Digest | None = None
    check: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class Arrived:
    """A file that is there now: what it has of bytes, and their hash."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Gone:
    """A file that cannot be had, with the reason."""

    reason: str


class AgainError(Exception):
    """What may be right the next time; the server may have said when."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class GoneError(Exception):
    """What will not be right the next time."""


def inspected(part: Path, item: Item) -> tuple[Arrived, str | None]:
    """What a file is that was received to its end, and what is wrong with it."""
    found, fault = Arrived(part.stat().st_size, digest_of(part, "sha256")), None
    if item.size is not None and found.size != item.size:
        fault = f"has {found.size:,} bytes, not the {item.size:,} that are published"
    elif item.digest is not None:
        value = digest_of(part, item.digest.kind)
        if value != item.digest.value:
            fault = f"its {item.digest.kind} is {value}, not {item.digest.value} as published"
    elif item.check is not None:
        try:
            item.check(part)
        except UnusableError as error:
            fault = str(error)
    return found, fault
