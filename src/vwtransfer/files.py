"""Files are written whole or not at all, whatever happens to the process or the disk."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vwtransfer.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

T = TypeVar("T")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a temporary file beside `path`, then puts it in place of `path`.

    The file and its folder are synchronised to disk before this returns, so that a word that is
    reported as done survives a power cut. Readers see the former content or the new one, never
    a part. Missing folders are made.

    Args:
        path: where the content goes.
        write: writes the whole content to the path it is given.

    Raises:
        UserError: the disk is full or the place may not be written to. A former `path` stands.
    """
    _write_temporary(path, write, lambda temporary: temporary.replace(path))


def write_once(path: Path, write: Callable[[Path], None]) -> bool:
    """As `write_atomically`, but a `path` that is there already stands.

    Of several processes that write the same path at once, on any machines that share the folder,
    one does.

    Returns:
        Whether it was this one.
    """

    def place(temporary: Path) -> bool:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:  # or NFS asked twice, as its first answer was lost: see open(2)
            return temporary.stat().st_nlink == 2
        return True

    return _write_temporary(path, write, place)


def _write_temporary(path: Path, write: Callable[[Path], None], place: Callable[[Path], T]) -> T:
    """What `place` returns once it was given a whole file, on disk, to be put at `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors lets nobody else read, in a folder that people share
        _synchronise(temporary)
        placed = place(temporary)
        _synchronise(path.parent)
        return placed
    except Exception as error:
        mendable = explained(error, path)
        if mendable is None:
            raise
        raise mendable from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes `text` in UTF-8; see `write_atomically`."""
    write_atomically(path, lambda temporary: _write(temporary, text))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON; see `write_atomically`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explained(error: Exception, path: Path) -> UserError | None:
    """What a person can do about the failed write of `path`; None where the fault is not theirs."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors and pyarrow pack the system's error into one of their own
    if number in _FULL or "No space left on device" in str(error):
        return UserError(
            f"no space left while writing {path}; what was finished before is kept. "
            "Free some space and run the same command again."
        )
    if number in _FORBIDDEN:
        return UserError(
            f"{path.parent} may not be written to ({os.strerror(number)}). "
            "Choose another place with outputs=FOLDER."
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return UserError(
            f"{path} cannot be written: a part of its path is a file, not a folder. "
            "Choose another place with outputs=FOLDER."
        )
    return None
