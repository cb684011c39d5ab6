"""fetched.json in a dataset's folder: where each file came from, and its hash as first seen."""

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vwtransfer.errors import UserError
from vwtransfer.fetch.items import Arrived
from vwtransfer.files import explained, read_json, write_json

NAME = "fetched.json"
FORMAT = "vwtransfer fetched 1"
SAVE_EVERY = 5.0  # seconds


class Record:
    """What was fetched into a folder.

    Args:
        root: the dataset's folder.

    Raises:
        UserError: the file that is there is no record.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / NAME
        self.files: dict[str, dict[str, Any]] = {}
        self.saved = time.monotonic()
        if self.path.is_file():
            found = read_json(self.path)
            files = found.get("files") if isinstance(found, dict) else None
            if not isinstance(files, dict) or found.get("format") != FORMAT:
                raise UserError(f"{self.path} is not a list of fetched files. Move it away.")
            self.files = {name: each for name, each in files.items() if isinstance(each, dict)}

    def add(self, path: Path, address: str, arrived: Arrived) -> None:
        """Notes a file that is there now; `save` writes it down.

        Raises:
            UserError: another file came from there before.
        """
        name = path.relative_to(self.root).as_posix()
        former = str(self.files.get(name, {}).get("sha256", arrived.sha256))
        if former != arrived.sha256:
            raise UserError(
                f"{path}: {address} gave another file than the first time (sha256 "
                f"{arrived.sha256[:12]}..., then {former[:12]}...). If it is right, delete its "
                f"entry in {self.path}."
            )
        self.files[name] = {"address": address, "bytes": arrived.size, "sha256": arrived.sha256}
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def confirm(self, path: Path, sha256: str) -> None:
        """Refuses a file that is not what was fetched; notes one that was there, as it is now.

        Raises:
            UserError: it was changed.
        """
        now = {"address": None, "bytes": path.stat().st_size, "sha256": sha256}
        former = self.files.setdefault(path.relative_to(self.root).as_posix(), now).get("sha256")
        if former != sha256:
            raise UserError(
                f"{path} was changed since it was fetched (its sha256 is {sha256[:12]}..., it was "
                f"{str(former)[:12]}...). Delete it: the same command fetches it again."
            )

    def save(self) -> None:
        """Writes it down."""
        ordered = dict(sorted(self.files.items()))
        write_json(self.path, {"format": FORMAT, "files": ordered})
        self.saved = time.monotonic()


@contextmanager
def alone_in(root: Path) -> Iterator[Record]:
    """The record of a folder that no other process fetches into; it is written at the end.

    Raises:
        UserError: another process does, or the folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".fetch.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{root}: another process fetches into this folder.") from error
            record = Record(root)
            try:
                yield record
            finally:
                if record.files:
                    record.save()
    except OSError as error:
        place = Path(error.filename or root)
        full = explained(error, place) if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise full or UserError(
            f"{place}: {error.strerror or error}. Another place: dataset.NAME.root=FOLDER."
        ) from error
