"""What cannot be used is named with its reason: skipped and counted, or refused."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath


class UnusableError(Exception):
    """One image or annotation that cannot be used; the text is the reason."""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why; both are `escaped`."""

    file: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", escaped(self.file))
        object.__setattr__(self, "reason", escaped(self.reason))


def escaped(text: str) -> str:
    """Text with a file's name in it, as it can be written: what is no UTF-8 is escaped."""
    return text.encode(errors="backslashreplace").decode()


def path_inside(root: Path, file: str) -> Path:
    """The path of `file`, as an annotation or a manifest names it, inside the dataset's folder.

    Raises:
        UnusableError: the path is absolute or climbs out of `root`, or is no UTF-8.
    """
    if escaped(file) != file:
        raise UnusableError("the file's name is not UTF-8; rename it")
    parts = PureWindowsPath(file).parts
    outside = PurePosixPath(file).is_absolute() or PureWindowsPath(file).anchor or ".." in parts
    if not parts or outside or "\0" in file:
        raise UnusableError("the path leaves the dataset's folder")
    return root / file


def is_inside(root: Path, file: str) -> bool:
    """Whether `file`, as an annotation names it, is a file in the dataset's folder."""
    try:
        return path_inside(root, file).is_file()
    except (OSError, UnusableError):
        return False
