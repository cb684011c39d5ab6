"""What cannot be used is named with its reason: skipped and counted, or refused."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath


class UnusableError(Exception):
    """One image or annotation that cannot be used; the text is the reason."""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    file: str
    reason: str


def path_inside(root: Path, file: str) -> Path:
    """The path of `file`, as an annotation or a manifest names it, inside the dataset's folder.

    Raises:
        UnusableError: the path is absolute or climbs out of `root`.
    """
    parts = PureWindowsPath(file).parts
    outside = PurePosixPath(file).is_absolute() or PureWindowsPath(file).anchor or ".." in parts
    if not parts or outside or "\0" in file:
        raise UnusableError("the path leaves the dataset's folder")
    return root / file
