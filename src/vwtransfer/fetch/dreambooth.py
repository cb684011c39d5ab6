"""DreamBooth: all photos of the subjects, out of its repository on GitHub."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vwtransfer.config.photo_folders import suffixes
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.errors import UserError, nearest
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.items import Arrived, Item
from vwtransfer.fetch.record import Record, alone_in
from vwtransfer.fetch.session import (
    Session,
    bring_listed,
    photo_item,
    spec_of,
)
from vwtransfer.files import read_regular

INSIDE = "dataset"  # the folder of the subjects' folders
LISTING = "repository.json"
LARGEST_LISTING = 1 << 26  # bytes


def fetch(node: Mapping[str, Any], session: Session) -> None:
    """Brings what the dataset that the node describes needs: every photo of its subjects.

    Raises:
        UserError: something cannot be had.
    """
    spec, root = spec_of(node), Path(node["root"]).expanduser()
    with alone_in(root) as record:
        listing = _listing(root, session, record)
        bare = not (root / INSIDE).is_dir() and any(
            (root / each).is_dir() for each in spec.concepts
        )
        folder = root if bare else root / INSIDE  # as its loader looks for them

        def bring(wanted: Mapping[str, Digest | None]) -> dict[str, str]:
            items = {}
            for file, digest in wanted.items():
                sha1, size = listing.get(file, (None, None))
                known = digest or (Digest("git-sha1", sha1) if sha1 else None)
                address = f"{session.settings.dreambooth.photos}{INSIDE}/{file}"
                items[file] = photo_item(address, path_inside(folder, file), known, size)
            return session.photos(spec.name, items, folder, record)

        if bring_listed(node, folder, bring, spec.name):
            return
        subjects = {PurePosixPath(file).parts[0] for file in listing}
        for concept in spec.concepts:
            if concept not in subjects:
                raise UserError(
                    f"dataset.{spec.name}.concepts: the repository has no photos of {concept}. "
                    f"{nearest(concept, sorted(subjects))}"
                )
        missing = {
            file: None
            for file in listing
            if PurePosixPath(file).parts[0] in spec.concepts
            and not path_inside(folder, file).exists()
        }
        gone = bring(missing) if missing else {}
        if gone:
            file, reason = next(iter(gone.items()))
            raise UserError(
                f"dataset.{spec.name}: {len(gone)} of {len(missing)} photos cannot be had, such as "
                f"{file} ({reason}). Delete {root / LISTING} to have the repository listed anew."
            )


def _listing(root: Path, session: Session, record: Record) -> dict[str, tuple[str, int]]:
    """Photo, as SUBJECT/NAME -> what git calls its content by, and its bytes.

    Raises:
        UserError: the list cannot be had or is none.
    """
    path = root / LISTING
    if not path.is_file():
        address = session.settings.dreambooth.listing
        item = Item(address, path, LARGEST_LISTING, check=_photos)
        for _, result in session.downloads.get([item]):
            if not isinstance(result, Arrived):
                raise UserError(f"{session.downloads.mirrored(address)}: {result.reason}.")
            record.add(path, session.downloads.mirrored(address), result)
    try:
        return _photos(path)
    except UnusableError as error:
        raise UserError(f"{path}: {error}. Delete it: the same command fetches it.") from error


def _photos(path: Path) -> dict[str, tuple[str, int]]:
    """As `_listing`; raises UnusableError."""
    try:
        found = json.loads(read_regular(path, LARGEST_LISTING))
        if found["truncated"]:
            raise UnusableError("not all of the repository's files are in its list")
        photos = {}
        for each in found["tree"]:
            name = PurePosixPath(str(each["path"]))
            if (
                each["type"] == "blob"
                and len(name.parts) == 3
                and name.parts[0] == INSIDE
                and name.suffix.lower() in suffixes()
            ):
                photos["/".join(name.parts[1:])] = (str(each["sha"]), int(each["size"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableError("it is no list of a repository's files as GitHub gives it") from error
    if not photos:
        raise UnusableError(f"it lists no photos in {INSIDE}/")
    return photos
