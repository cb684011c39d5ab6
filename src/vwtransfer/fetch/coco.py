"""COCO: the JSON files out of the archive of annotations, then each chosen photo by its address."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vwtransfer.datasets.annotation import labels_of
from vwtransfer.datasets.bad_data import path_inside
from vwtransfer.datasets.coco import ANNOTATIONS, candidates
from vwtransfer.datasets.coco_json import LARGEST_FILE
from vwtransfer.errors import UserError
from vwtransfer.fetch.archives import members
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.record import Record, alone_in
from vwtransfer.fetch.session import (
    Session,
    archive_item,
    bring_choice,
    bring_listed,
    photo_item,
    spec_of,
)
from vwtransfer.files import write_atomically

LARGEST_ARCHIVE = 1 << 32  # bytes
SPLITS = ("train", "val")


def fetch(node: Mapping[str, Any], session: Session) -> None:
    """Brings what the dataset that the node describes needs.

    Raises:
        UserError: something cannot be had.
    """
    spec, root, edition = spec_of(node), Path(node["root"]).expanduser(), node["edition"]
    names = {
        f"instances_{split}{edition}.json": root / ANNOTATIONS / f"instances_{split}{edition}.json"
        for split in SPLITS
    }
    addresses: dict[str, str] = {}
    with alone_in(root) as record:

        def bring(wanted: Mapping[str, Digest | None]) -> dict[str, str]:
            items = {
                file: photo_item(
                    addresses.get(file, session.settings.coco.photos + file),
                    path_inside(root, file),
                    digest,
                )
                for file, digest in wanted.items()
            }
            return session.photos(spec.name, items, root, record)

        if bring_listed(node, root, bring, spec.name):
            return
        there = all(path.is_file() for path in names.values())
        if not there and not _annotations(edition, root, names, session, record, spec.name):
            return
        for split in SPLITS:
            (root / f"{split}{edition}").mkdir(exist_ok=True)
        labels = labels_of(node["categories"], spec.concepts, f"dataset.{spec.name}.categories")
        found, stated = candidates(root, edition, labels, spec)
        addresses.update(stated)
        bring_choice(spec, root, found, bring, record, session)


def _annotations(
    edition: int,
    root: Path,
    names: Mapping[str, Path],
    session: Session,
    record: Record,
    name: str,
) -> bool:
    """Brings the JSON files; False where that only was to be said."""
    source = session.settings.coco
    address = source.archive.replace("{edition}", str(edition))
    item = archive_item(root, address, LARGEST_ARCHIVE, (source.md5 or {}).get(str(edition)))
    if not session.archive(name, item, record):
        return False
    with members(item.path) as inside:
        by_name = {path.rpartition("/")[2]: member for path, member in inside.items()}
        for file, path in names.items():
            if file not in by_name:
                raise UserError(f"{item.path}: holds no {file}. Is it of edition {edition}?")
            write_atomically(path, partial(by_name[file].write, most=LARGEST_FILE))
    session.drop(item, record)
    return True
