"""ImageNet out of its dataset on the hub: boxes, names, then the row groups of the chosen photos.

The dataset is parquet files of images in random order, a row for each: the image's name, which
ends with its WordNet id, and its bytes. Of all of them only the column of names is read.
"""

import os
import re
import shutil
import threading
import time
from collections import ChainMap, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import pyarrow.parquet as pq

from vwtransfer.config.fetching import ImageNetSource
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.imagenet import (
    SOLUTION,
    read_solution,
    solution_in,
    solution_text,
    training_folder,
)
from vwtransfer.datasets.voc_xml import LARGEST_FILE as LARGEST_XML
from vwtransfer.errors import UserError
from vwtransfer.fetch.archives import members
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.hub_table import HubTable
from vwtransfer.fetch.record import SAVE_EVERY, Record
from vwtransfer.fetch.session import Session, archive_item, number_of, place_photo
from vwtransfer.files import read_json, write_json, write_text

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
LARGEST_ARCHIVE = 1 << 30  # bytes
LAYOUT = "CLS-LOC"
INDEX = ".hub_rows.json"
NAME, BYTES = "image.path", "image.bytes"
_NAME = re.compile(r"(?:.*/)?([^/]+)_(n\d{8})\.JPEG")  # such as n02640242_7_n02640242.JPEG


class Row(NamedTuple):
    """Where an image is: in a row of a row group of a file. And its class."""

    shard: str
    group: int
    row: int
    wnid: str


class HubImageNet:
    """What is needed of the dataset.

    Args:
        name: the dataset's, in the study.
        wnids: the classes that are wanted.
        folder: gets Data/ and Annotations/.
        record: of what is fetched.
        session: says, asks and shows progress.
        otherwise: what else can be done by a person who may not read it.
    """

    def __init__(
        self,
        name: str,
        wnids: Collection[str],
        folder: Path,
        record: Record,
        session: Session,
        otherwise: str,
    ) -> None:
        self.name, self.wnids, self.folder = name, wnids, folder
        self.record, self.session = record, session
        self.source: ImageNetSource = session.settings.imagenet
        hub, parallel = self.source.hub, session.settings.parallel
        assert hub.repo is not None
        self.table = HubTable(
            "fetch.imagenet.hub.repo", hub.repo, hub.revision, otherwise, parallel
        )

    def bring_annotations(self) -> bool:
        """Brings boxes, and the classes of validation images; False where that was only said.

        Boxes of training images are put in place last: where they are, the rest is.
        """
        _ = self.table.root  # whoever may not read it is told before anything comes
        items = [
            archive_item(self.record.root, each.address, LARGEST_ARCHIVE, each.md5)
            for each in (getattr(self.source.boxes, split) for split in SPLITS)
        ]
        there = [self.session.archive(self.name, item, self.record) for item in items]
        if not all(there):
            return False
        validation = self.rows("val")
        if validation is None:
            return False
        self._unpack([item.path for item in items], validation)
        for item in items:
            self.session.drop(item, self.record)
        return True

    def _unpack(self, archives: Iterable[Path], validation: Mapping[str, Row]) -> None:
        staged = self.folder / ".unpacked"
        shutil.rmtree(staged, ignore_errors=True)
        for archive in archives:
            with members(archive) as inside:
                for path, member in inside.items():
                    name = PurePosixPath(path)
                    place = "val" if name.stem in validation else name.stem.partition("_")[0]
                    if name.suffix == ".xml" and (place == "val" or place in self.wnids):
                        member.write(staged / place / name.name, LARGEST_XML)
        os.sync()  # one for all of them: each alone would take minutes
        classes = {name: row.wnid for name, row in validation.items()}
        before = solution_in(self.record.root, LAYOUT)  # another dataset's, of this folder
        known = dict(read_solution(before)) if before else {}
        write_text(self.folder / SOLUTION, solution_text(known | classes))
        inner = {"val": f"{LAYOUT}/val"}
        inner |= {wnid: training_folder(LAYOUT, wnid) for wnid in self.wnids}
        for place, final in inner.items():
            _move(staged / place, self.folder / "Annotations" / final)
        shutil.rmtree(staged, ignore_errors=True)

    def bring(self, wanted: Mapping[str, Digest | None]) -> dict[str, str]:
        """Reads photos out of their row groups; those that cannot be had -> the reason."""
        splits = [each for each in SPLITS if any(f"/{each}/" in file for file in wanted)]
        known = [self.rows(split) for split in splits]
        if None in known:
            return {}
        rows = ChainMap(*filter(None, known))
        gone = {
            file: f"{self.table.root} has no such image"
            for file in wanted
            if Path(file).stem not in rows
        }
        by_shard: dict[str, dict[str, Row]] = defaultdict(dict)
        for file in wanted.keys() - gone.keys():
            row = rows[Path(file).stem]
            by_shard[row.shard][file] = row
        groups = {(row.shard, row.group) for files in by_shard.values() for row in files.values()}
        size = sum(self._index[shard]["bytes"][group] for shard, group in groups)
        what = f"{self.name}: {number_of(len(wanted) - len(gone))} in {len(groups)} row groups"
        if not self.session.agreed(f"{what} of {self.table.root}", size, self.folder):
            return gone
        lock = threading.Lock()

        def place(name: str, row: Row, data: bytes) -> None:
            path = path_inside(self.folder, name)
            try:
                arrived = place_photo(lambda part: part.write_bytes(data), path, wanted[name])
                self.record.add(path, f"{row.shard}#{row.group}", arrived)
            except UnusableError as error:
                gone[name] = f"{row.shard}: {error}"
            advance(1)

        def read(shard: str) -> None:
            ordered = sorted(by_shard[shard].items(), key=lambda each: each[1])
            with self.table.opened(shard) as file:
                for group, same in groupby(ordered, key=lambda each: each[1].group):
                    images = self.table.group(file, group, BYTES)
                    for name, row in same:
                        with lock:
                            place(name, row, images[row.row]["bytes"].as_py())

        with self.session.stages.stage(f"{self.name}: photos", len(wanted) - len(gone)) as advance:
            for _ in self.table.each(read, by_shard):
                pass
        return gone

    def rows(self, split: Split) -> dict[str, Row] | None:
        """Image -> where it is, of the classes that are wanted; None where that was only said."""
        index, pattern = self._index, getattr(self.source.hub, split)
        shards = self.table.shards(pattern)
        left = [shard for shard in shards if shard not in index]
        if left:
            index[left[0]] = first = self._names(left[0])
            size = first["names"] * len(left)
            what = f"{self.name}: the names in {number_of(len(left), 'file')} of {self.table.root}"
            if not self.session.agreed(what, size, self.folder, about=True):
                return None
            self._read_names(left)
        rows = {
            stem: Row(shard, *place)
            for shard in shards
            for stem, place in index[shard]["rows"].items()
        }
        if not rows:
            raise UserError(
                f"fetch.imagenet.hub.{split}: {self.table.root}/{pattern} names no image of "
                f"{', '.join(self.wnids)}, as n02640242_7_n02640242.JPEG would."
            )
        return rows

    def _read_names(self, shards: Sequence[str]) -> None:
        """Those of all files but the first, which are known by now."""
        saved = time.monotonic()
        try:
            with self.session.stages.stage(f"{self.name}: names", len(shards)) as advance:
                advance(1)
                for shard, names in self.table.each(self._names, shards[1:]):
                    self._index[shard] = names
                    advance(1)
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save()
                        saved = time.monotonic()
        finally:
            self._save()

    @cached_property
    def _index(self) -> dict[str, Any]:
        """File -> what is known of it, now or from before."""
        path = self.record.root / INDEX
        known = read_json(path) if path.is_file() else {}
        return dict(known["files"]) if known.get("of") == self._of else {}

    @property
    def _of(self) -> list[str]:
        return [self.table.root, *sorted(self.wnids)]

    def _save(self) -> None:
        write_json(self.record.root / INDEX, {"of": self._of, "files": self._index})

    def _names(self, shard: str) -> dict[str, Any]:
        """Rows of the classes; bytes of each group's images and of all names."""
        rows: dict[str, tuple[int, int, str]] = {}
        with self.table.opened(shard) as file:
            sizes = [_sizes(file, group) for group in range(file.num_row_groups)]
            for group in range(file.num_row_groups):
                names = self.table.group(file, group, NAME).to_pylist()
                for row, name in enumerate(names):
                    found = _NAME.fullmatch((name or {}).get("path") or "")
                    if found and found[2] in self.wnids:
                        rows[found[1]] = (group, row, found[2])
        return {
            "rows": rows,
            "bytes": [each[BYTES] for each in sizes],
            "names": sum(each[NAME] for each in sizes),
        }


def _move(folder: Path, target: Path) -> None:
    """Gives a folder its name: all of its files at once, where none was there before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir() and folder.is_dir():
        folder.rename(target)
    for file in folder.glob("*"):
        file.replace(target / file.name)


def _sizes(file: pq.ParquetFile, group: int) -> dict[str, int]:
    """Column -> its bytes in the file."""
    stated = file.metadata.row_group(group)
    columns = (stated.column(i) for i in range(stated.num_columns))
    return {each.path_in_schema: each.total_compressed_size for each in columns}
