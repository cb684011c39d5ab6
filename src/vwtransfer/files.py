"""Files are written whole or not at all, whatever happens to the process or the disk.

And only where they belong: a name that comes with a file from elsewhere is no path, and a link in
a study's folder does not lead a write out of it.
"""

import codecs
import contextlib
import errno
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vwtransfer.errors import UserError, quoted

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
LONGEST_NAME = 200  # bytes of a name that files are called by; they add to it, and take 255
LONGEST_FOREIGN = 80  # bytes of such a name that comes with a file from elsewhere
LEFT_BEHIND = 86400.0  # seconds after which a temporary file is of a process that was killed
_NAME = re.compile(r"\w[\w.+-]*")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
_studies: dict[Path, bool] = {}  # folder -> whether it holds identity/
_swept: set[Path] = set()

T = TypeVar("T")


def free_bytes(folder: Path) -> int:
    """What is free where a folder lies, or is to lie."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    return shutil.disk_usage(there).free


def is_name(text: str) -> bool:
    """Whether a text can be the name of a file or folder on any system."""
    return _NAME.fullmatch(text) is not None and len(text.encode()) <= LONGEST_NAME


def file_safe(text: str) -> str:
    """Any text as such a name, of at most LONGEST_FOREIGN bytes; `word` where nothing is left."""
    name = re.sub(r"[^\w.+-]+", "_", text[:LONGEST_FOREIGN]).lstrip("_.+-").rstrip("_.")
    return name.encode()[:LONGEST_FOREIGN].decode(errors="ignore") or "word"


def keep_inside(folder: Path, *, claimed: bool = False) -> None:
    """From now on no link leads what is written below a folder out of it.

    Args:
        folder: a study's, or one of converted words.
        claimed: whether it holds identity/ now: nothing is written below it once that is gone.
    """
    _studies[folder.absolute()] = claimed


def check_place(path: Path) -> None:
    """Refuses to write below the folder of a study what would not lie in that study.

    Raises:
        UserError: a link leads out of the folder, or it was deleted after it was claimed.
    """
    path = path.absolute()
    for folder, claimed in _studies.items():
        if not path.is_relative_to(folder):
            continue
        try:
            real = path.parent.resolve()
        except (OSError, RuntimeError) as error:  # the latter before Python 3.13
            raise UserError(f"{path} cannot be written: a link leads to itself.") from error
        if not real.is_relative_to(folder.resolve()):
            raise UserError(
                f"{path} is not written: it would lie in {real}, outside of {folder}. Replace the "
                "link or name that leads there."
            )
        if claimed and not (folder / "identity").is_dir():
            raise UserError(
                f"{folder} was deleted or moved while this process worked in it. Put it back and "
                "run the same command again; without it, all begins anew."
            )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
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


def write_once(path: Path, write: Callable[[Path], object]) -> bool:
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


def put_in_place(temporary: Path, path: Path) -> None:
    """Gives a whole file, or a folder of such, its name, in the same folder, on disk.

    Readers see what was there before, or all of it.
    """
    _synchronise(temporary)
    temporary.replace(path)
    _synchronise(path.parent)


def _write_temporary(path: Path, write: Callable[[Path], object], place: Callable[[Path], T]) -> T:
    """What `place` returns once it was given a whole file, on disk, to be put at `path`."""
    check_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        _sweep(path.parent, temporary.stat().st_mtime - LEFT_BEHIND)
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors lets nobody else read, in a folder that people share
        _synchronise(temporary)
        placed = place(temporary)
        _synchronise(path.parent)
        return placed
    except Exception as error:
        if mendable := explained(error, path):
            raise mendable from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sweep(folder: Path) -> None:
    """Removes, in a folder and all below it, what killed processes left half written a day ago."""
    for place, _, _ in os.walk(folder):
        _sweep(Path(place), time.time() - LEFT_BEHIND)


def _sweep(folder: Path, before: float) -> None:
    """Removes what killed processes left half written; once in each folder that is written to."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            old = _TEMPORARY.fullmatch(entry.name) and entry.stat().st_mtime < before
            if old and entry.is_file(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` in UTF-8; see `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON; see `write_atomically`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a file that this package wrote as JSON holds.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, quoted(error)) from error


def damaged(path: Path, why: str) -> UserError:
    """What is said of a file that this package wrote, and that holds something else now."""
    return UserError(f"{path} is damaged ({why}). Restore or delete it.")


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file that comes from elsewhere.

    Args:
        path: of a file; a pipe or a device, which may never end, is not opened.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, with the reason as `strerror`.
    """
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise OSError(errno.EINVAL, "a pipe or a device", str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{status.st_size:,} bytes; at most {most:,}", str(path))
    return path.read_bytes()


def decoded(data: bytes, otherwise: str = "utf-8") -> str:
    """Text in the encoding that a byte order mark states.

    Args:
        data: its bytes.
        otherwise: the encoding of those without a mark.

    Raises:
        ValueError: it is in another.
    """
    stated = (encoding for mark, encoding in _MARKS if data.startswith(mark))
    return data.decode(next(stated, otherwise))


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
    if number in (errno.ENAMETOOLONG, errno.ELOOP):
        return UserError(
            f"{path} cannot be written ({os.strerror(number)}). Choose shorter names, such as "
            "name=NAME, or another place with outputs=FOLDER."
        )
    if number == errno.EISDIR:
        return UserError(f"{path} cannot be written: a folder is in its place. Move it away.")
    if number in (errno.ENOTDIR, errno.EEXIST):
        return UserError(
            f"{path} cannot be written: a part of its path is a file, not a folder. "
            "Choose another place with outputs=FOLDER."
        )
    return None
