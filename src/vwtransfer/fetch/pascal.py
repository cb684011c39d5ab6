"""PASCAL VOC: its archive, of which annotations, lists and the chosen photos are kept."""

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from vwtransfer.datasets.annotation import labels_of
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.images import LARGEST_FILE
from vwtransfer.datasets.pascal import LARGEST_LIST, candidates, folder_in
from vwtransfer.datasets.voc_xml import LARGEST_FILE as LARGEST_XML
from vwtransfer.errors import UserError
from vwtransfer.fetch.archives import Member, members
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.items import Item
from vwtransfer.fetch.record import Record, alone_in
from vwtransfer.fetch.session import (
    Session,
    archive_item,
    bring_choice,
    bring_listed,
    place_photo,
    spec_of,
)

LARGEST_ARCHIVE = 1 << 34  # bytes
ANNOTATIONS = "Annotations"
LISTS = "ImageSets/Main"
SPLITS = ("train.txt", "val.txt")


def fetch(node: Mapping[str, Any], session: Session) -> None:
    """Brings what the dataset that the node describes needs.

    Raises:
        UserError: something cannot be had.
    """
    spec, root, edition = spec_of(node), Path(node["root"]).expanduser(), node["edition"]
    labels = labels_of(node["categories"], spec.concepts, f"dataset.{spec.name}.categories")
    folder = folder_in(root, edition)
    if folder == root and not (root / ANNOTATIONS).is_dir():
        folder = root / "VOCdevkit" / f"VOC{edition}"
    item = _published(edition, root, session)
    with alone_in(root) as record, ExitStack() as opened:
        archive = _Archive(item, edition, folder, spec.name, session, record, opened)
        known = bring_listed(node, folder, archive.bring, spec.name)
        if not known and archive.bring_annotations():
            found = candidates(folder, labels, spec.name)
            bring_choice(spec, folder, found, archive.bring, record, session)
        session.drop(item, record)


@dataclass(frozen=True)
class _Archive:
    """The archive, which is fetched when something of it is needed.

    Attributes:
        item: where it is.
        edition: the year.
        folder: where its VOC<year>/ goes.
        name: the dataset's.
        session, record: see `fetch`.
        opened: closes it.
    """

    item: Item
    edition: int
    folder: Path
    name: str
    session: Session
    record: Record
    opened: ExitStack

    @cached_property
    def packed(self) -> Mapping[str, Member] | None:
        """Path in VOC<year>/ -> file; None where what would be fetched is only said."""
        if not self.session.archive(self.name, self.item, self.record):
            return None
        inside, top = {}, f"VOC{self.edition}"
        for path, member in self.opened.enter_context(members(self.item.path)).items():
            parts = path.split("/")
            if top in parts:
                inside["/".join(parts[parts.index(top) + 1 :])] = member
        if not inside:
            raise UserError(f"{self.item.path}: holds no folder {top}. Is it of another edition?")
        return inside

    def bring_annotations(self) -> bool:
        """Whether they are there, now or before."""
        if all((self.folder / LISTS / name).is_file() for name in SPLITS):
            return True
        if self.packed is None:
            return False
        _unpack(self.packed, self.folder, self.item.path)
        return True

    def bring(self, wanted: Mapping[str, Digest | None]) -> dict[str, str]:
        """Unpacks photos; those that cannot be had -> the reason."""
        packed, gone = self.packed, dict[str, str]()
        if packed is None:
            return {}
        with self.session.stages.stage(f"{self.name}: photos", len(wanted)) as advance:
            for file, digest in wanted.items():
                try:
                    if file not in packed:
                        raise UnusableError("there is no such file")
                    path = path_inside(self.folder, file)
                    arrived = place_photo(
                        partial(packed[file].write, most=LARGEST_FILE), path, digest
                    )
                    self.record.add(path, f"{self.item.address}#{file}", arrived)
                except UnusableError as error:
                    gone[file] = f"{self.item.path.name}: {error}"
                advance(1)
        return gone


def _published(edition: int, root: Path, session: Session) -> Item:
    source = session.settings.pascal
    address, md5 = source.archive, source.md5
    if address is None:
        from torchvision.datasets.voc import DATASET_YEAR_DICT

        published = DATASET_YEAR_DICT[str(edition)]
        address, md5 = published["url"], published["md5"]
    return archive_item(root, address, LARGEST_ARCHIVE, md5)


def _unpack(packed: Mapping[str, Member], folder: Path, archive: Path) -> None:
    """Writes the lists of the splits and the annotations of the images in them.

    The lists are put in place last, so that where they are, the annotations are whole.
    """
    staged = folder / ".unpacked"
    shutil.rmtree(staged, ignore_errors=True)
    for name in SPLITS:
        if f"{LISTS}/{name}" not in packed:
            raise UserError(f"{archive}: holds no {LISTS}/{name}.")
        packed[f"{LISTS}/{name}"].write(staged / name, LARGEST_LIST)
    names = {
        line.split()[0]
        for name in SPLITS
        for line in (staged / name).read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    }
    for image in sorted(names):
        file = f"{ANNOTATIONS}/{image}.xml"
        if file in packed and "/" not in image:
            packed[file].write(staged / file, LARGEST_XML)
    os.sync()  # one for all of them: each alone would take minutes
    (folder / ANNOTATIONS).mkdir(exist_ok=True)
    for path in (staged / ANNOTATIONS).glob("*.xml"):
        path.replace(folder / ANNOTATIONS / path.name)
    (folder / LISTS).mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        (staged / name).replace(folder / LISTS / name)
    shutil.rmtree(staged)
