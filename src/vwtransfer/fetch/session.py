"""What every layout's fetching shares: what is said before, and how photos are brought."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.fetching import FetchConfig
from vwtransfer.datasets.annotation import Candidates
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.images import LARGEST_FILE, examine
from vwtransfer.datasets.manifest import read_manifest
from vwtransfer.datasets.selection import absent, choose
from vwtransfer.errors import UserError
from vwtransfer.fetch.checksums import Digest, digest_of
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.items import Arrived, Item
from vwtransfer.fetch.record import Record
from vwtransfer.files import file_safe, free_bytes, put_in_place
from vwtransfer.progress import Stages

SAMPLE = 16  # photos whose sizes are asked for, to tell that of all
SPARE = 1 << 28  # bytes that are to be free beside what is fetched
FRUITLESS = 3  # rounds of replacements without a photo, in a row, after which a server is given up
MEGA = 1e6

Bring = Callable[[Mapping[str, Digest | None]], dict[str, str]]
"""Brings files, of which some have a known hash; those that cannot be had -> the reason."""


@dataclass(frozen=True)
class Session:
    """What fetching works with.

    Attributes:
        settings: the config's.
        downloads: brings files over HTTP.
        stages: draws progress.
        console: where a person reads.
    """

    settings: FetchConfig
    downloads: Downloads
    stages: Stages
    console: Console

    def agreed(self, what: str, size: int | None, folder: Path, about: bool = False) -> bool:
        """Says what will be fetched; whether it is to be.

        Raises:
            UserError: there is no room for it.
        """
        stated = "of unknown size" if size is None else f"{size / MEGA:,.1f} MB"
        self.console.print(
            f"{what}, {'about ' * about}{stated}, to {folder}", soft_wrap=True, highlight=False
        )
        free = free_bytes(folder)
        if size is not None and free < size + SPARE:
            raise UserError(
                f"{folder}: {free / MEGA:,.0f} MB are free, and {what} takes "
                f"{size / MEGA:,.0f} MB (and {SPARE / MEGA:.0f} MB are to be left). Choose another "
                "place with dataset.NAME.root=FOLDER."
            )
        return not self.settings.dry_run

    def archive(self, name: str, item: Item, record: Record) -> bool:
        """Brings an archive, which `name` is said of; False where it only is to be said."""
        address = self.downloads.mirrored(item.address)
        if item.path.is_file():
            _refuse_other(item)
            return True
        size = self.downloads.size(item.address)
        if not self.agreed(f"{name}: 1 archive, {address}", size, item.path.parent):
            return False
        total = max(1, round((size or 0) / MEGA))
        with self.stages.stage(f"{name}: archive, MB", total) as advance:
            received = told = 0

            def tell(count: int) -> None:
                nonlocal received, told
                received += count
                now = min(int(received / MEGA), total - 1)
                told, step = now, now - told
                advance(step)

            for _, result in self.downloads.get([item], tell):
                if isinstance(result, Arrived):
                    record.add(item.path, address, result)
                    record.save()  # or `drop` takes it for somebody's own after a kill
                advance(total - told)
        return True

    def drop(self, item: Item, record: Record) -> None:
        """Deletes an archive that was fetched, unless it is to be kept; nobody else's."""
        name = item.path.relative_to(record.root).as_posix()
        settings = self.settings
        if not settings.keep_archives and not settings.dry_run and name in record.files:
            item.path.unlink(missing_ok=True)
            del record.files[name]

    def photos(
        self, name: str, items: Mapping[str, Item], folder: Path, record: Record
    ) -> dict[str, str]:
        """Says what photos will be fetched, and brings each by its address.

        Returns:
            those that cannot be had -> the reason.
        """
        size, about = self._size_of_all(list(items.values()))
        if not self.agreed(f"{name}: {number_of(len(items))}", size, folder, about):
            return {}
        files = {item.path: file for file, item in items.items()}
        gone = {}
        with self.stages.stage(f"{name}: photos", len(items)) as advance:
            for item, result in self.downloads.get(items.values()):
                if isinstance(result, Arrived):
                    record.add(item.path, self.downloads.mirrored(item.address), result)
                else:
                    gone[files[item.path]] = f"{item.address}: {result.reason}"
                advance(1)
        return gone

    def _size_of_all(self, items: Sequence[Item]) -> tuple[int | None, bool]:
        """Bytes of all of these, and whether that is told from some of them."""
        if all(each.size is not None for each in items):
            return sum(each.size or 0 for each in items), False
        some = items[:: -(-len(items) // SAMPLE)]
        sizes = [each for each in self.downloads.sizes(one.address for one in some) if each]
        if not sizes:
            return None, False
        return round(sum(sizes) / len(sizes) * len(items)), len(sizes) < len(items)


def _refuse_other(item: Item) -> None:
    """An archive that lies there already may be cut off, or another one."""
    found = digest_of(item.path, item.digest.kind) if item.digest else None
    if item.digest and found != item.digest.value:
        raise UserError(
            f"{item.path} is not the archive that is published: its {item.digest.kind} is {found}, "
            f"not {item.digest.value}. Move it away: the same command fetches it."
        )


def archive_item(root: Path, address: str, most: int, md5: str | None) -> Item:
    """An archive to bring, which lies in `root` while it is needed."""
    path = root / file_safe(PurePosixPath(urlsplit(address).path).name)
    return Item(address, path, most, None, Digest("md5", md5) if md5 else None)


def number_of(count: int, what: str = "photo") -> str:
    """The number of photos, or of something else, as it is read."""
    return f"{count} {what}{'s' * (count != 1)}"


def photo_item(address: str, path: Path, digest: Digest | None, size: int | None = None) -> Item:
    """A photo to bring: it counts as whole once it decodes."""
    return Item(address, path, LARGEST_FILE, size, digest, examine)


def place_photo(write: Callable[[Path], object], path: Path, digest: Digest | None) -> Arrived:
    """Has `write` fill a temporary file, and gives it its name if it is a photo.

    Raises:
        UnusableError: it is none, or another one than is known.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(part)
        stored = examine(part)
        if digest is not None and stored.sha256 != digest.value:
            raise UnusableError(f"its sha256 is {stored.sha256}, not {digest.value}")
        arrived = Arrived(part.stat().st_size, stored.sha256)
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)
    return arrived


def spec_of(node: Mapping[str, Any]) -> DatasetSpec:
    """What a dataset's config says of it, whatever its layout."""
    return DatasetSpec(**{each.name: node[each.name] for each in fields(DatasetSpec)})


def bring_listed(node: Mapping[str, Any], folder: Path, bring: Bring, name: str) -> bool:
    """Brings those photos of the manifest that the config names, if it names one, that lack.

    Returns:
        Whether it names one.

    Raises:
        UserError: a photo cannot be had.
    """
    if node.get("manifest") is None:
        return False
    listed = read_manifest(Path(node["manifest"])).images
    photos = [each for each in listed if each.folder == "root"]
    try:
        missing = [each for each in photos if not path_inside(folder, each.file).exists()]
    except UnusableError as error:
        raise UserError(f"dataset.{name}.manifest: {error}.") from error
    wanted = {each.file: Digest("sha256", each.sha256) for each in missing}
    gone = bring(wanted) if wanted else {}
    if gone:
        file, reason = next(iter(gone.items()))
        raise UserError(
            f"dataset.{name}.manifest: {len(gone)} of its {len(photos)} photos cannot be had, such "
            f"as {file}: {reason}."
        )
    return True


def bring_choice(
    spec: DatasetSpec,
    folder: Path,
    candidates: Candidates,
    bring: Bring,
    record: Record,
    session: Session,
) -> None:
    """Brings the photos that `choose` takes of a full copy, and no others.

    One that cannot be had or used is named, and the next in the order of the seed takes its place.

    Raises:
        UserError: a concept has too few; a photo is not what was fetched; nothing comes.
    """
    gone: dict[str, str] = {}
    fruitless = 0
    while wanted := absent(spec, {"root": folder}, candidates, gone):
        missing = bring(dict.fromkeys(wanted))
        left = [file for file in wanted if not path_inside(folder, file).exists()]
        if session.settings.dry_run:
            return
        gone |= {file: missing.get(file, "it did not come") for file in left}
        fruitless = fruitless + 1 if len(left) == len(wanted) else 0
        if fruitless == FRUITLESS:
            raise UserError(f"dataset.{spec.name}: {_shown(gone)}. Another server: fetch.mirrors.")
    try:
        manifest = choose(spec, {"root": folder}, candidates)
    except UserError as error:
        raise UserError(f"{error} {_shown(gone)}." if gone else str(error)) from error
    for photo in manifest.images:
        record.confirm(folder / photo.file, photo.sha256)
    if gone:
        session.console.print(
            f"{spec.name}: {_shown(gone)}; others took their places", soft_wrap=True
        )


def _shown(gone: Mapping[str, str]) -> str:
    reasons = [f"{file} ({reason})" for file, reason in list(gone.items())[:3]]
    return f"{number_of(len(gone))} cannot be had, such as {', '.join(reasons)}"
