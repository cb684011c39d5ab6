"""Single files out of archives; where they go is never what the archive says."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vwtransfer.errors import UserError, quoted
from vwtransfer.fetch.checksums import PIECE

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # a compression that Python does not have
    ValueError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        archive: that it is in.
        open: reads it.
    """

    archive: Path
    open: Callable[[], IO[bytes]]

    def write(self, path: Path, most: int) -> None:
        """Writes it to `path`, as it stands there; whoever calls this gives it its name.

        Raises:
            UserError: it has more than `most` bytes, whatever the archive says, or is damaged.
        """
        size = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with _readable(self.archive), self.open() as source, path.open("wb") as file:
            while piece := source.read(PIECE):
                size += len(piece)
                if size > most:
                    raise UserError(f"{self.archive}: a file in it has more than {most:,} bytes.")
                file.write(piece)


@contextmanager
def members(archive: Path) -> Iterator[Mapping[str, Member]]:
    """Path in the archive -> what is a file there: no links, devices or folders.

    Raises:
        UserError: it is neither zip nor tar, or damaged.
    """
    if zipfile.is_zipfile(archive):
        with _readable(archive):
            zipped = zipfile.ZipFile(archive)
        with zipped:
            yield {
                each.filename: Member(archive, lambda each=each: zipped.open(each))  # type: ignore[misc]
                for each in zipped.infolist()
                if not each.is_dir()
            }
        return
    with _readable(archive):
        tarred = tarfile.open(archive)  # noqa: SIM115 - closed below, where errors are others
    with tarred:
        with _readable(archive):
            files = [each for each in tarred if each.isreg()]
        yield {each.name: Member(archive, lambda each=each: _of(tarred, each)) for each in files}  # type: ignore[misc]


def _of(tarred: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = tarred.extractfile(member)
    assert found is not None  # of a regular file
    return found


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise UserError(
            f"{archive} is damaged, or no zip or tar archive ({quoted(error)}). Delete it: the "
            "same command fetches it again."
        ) from error
