"""The keys of action=fetch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from vwtransfer.config.models import Count, Positive
from vwtransfer.config.schema import Bounds


@dataclass(frozen=True)
class CocoAddresses:
    """Where COCO is.

    Attributes:
        archive: of the annotations, with {edition} for its year.
        md5: edition -> that of the archive; None: it is not compared.
        photos: before train2017/NAME, for photos whose annotation names no address.
    """

    archive: str
    md5: Mapping[str, str] | None
    photos: str


@dataclass(frozen=True)
class PascalAddresses:
    """Where PASCAL VOC is.

    Attributes:
        archive: None: torchvision's address of the edition, with the md5 that it states.
        md5: of an archive of one's own; None: it is not compared.
    """

    archive: str | None
    md5: str | None


@dataclass(frozen=True)
class DreamBoothAddresses:
    """Where DreamBooth is.

    Attributes:
        listing: GitHub's list of the repository's files ("git trees").
        photos: before dataset/SUBJECT/NAME.
    """

    listing: str
    photos: str


@dataclass(frozen=True)
class ImageNetHub:
    """ImageNet's dataset on the hub, which hands it out to who accepted its terms.

    Attributes:
        repo: its id; None: the hub is not asked.
        revision: a branch, tag or commit.
        train: paths of the parquet files of training images, as a pattern.
        val: of validation images.
    """

    repo: str | None
    revision: str
    train: str
    val: str


NOT_ASKED = ImageNetHub(repo=None, revision="main", train="", val="")


@dataclass(frozen=True)
class Archive:
    """An archive's address, and its md5; None: it is not compared."""

    address: str
    md5: str | None


@dataclass(frozen=True)
class ImageNetBoxes:
    """The archives of ImageNet's boxes, of training and of validation images."""

    train: Archive
    val: Archive


@dataclass(frozen=True)
class ImageNetSource:
    """Where ImageNet is taken from.

    Attributes:
        copy: a folder that holds it; None: there is none, and the hub is asked.
        hub: the dataset there, which has no boxes.
        boxes: where these are; None: a study kept by a version that did not ask the hub.
    """

    copy: Path | None
    hub: ImageNetHub = NOT_ASKED
    boxes: ImageNetBoxes | None = None


@dataclass(frozen=True)
class FetchConfig:
    """What action=fetch brings, and how.

    Attributes:
        parts: the datasets of the study, its checkpoints, or both.
        dry_run: whether it only says what it would fetch.
        mirrors: pairs of how an address begins, and what stands there instead.
        parallel: files at once.
        timeout_s: without a byte, after which a connection is given up.
        attempts: of a file, in a row, that bring no further byte.
        backoff_s: before the second attempt; it doubles with each.
        max_wait_s: the longest wait that a server may ask for.
        keep_archives: whether archives stay once what is needed of them is unpacked.
    """

    parts: tuple[Literal["datasets", "checkpoints"], ...]
    dry_run: bool
    mirrors: tuple[tuple[str, ...], ...]
    parallel: Annotated[int, Bounds(least=1, most=64)]
    timeout_s: Positive
    attempts: Count
    backoff_s: Positive
    max_wait_s: Positive
    keep_archives: bool
    coco: CocoAddresses
    pascal: PascalAddresses
    dreambooth: DreamBoothAddresses
    imagenet: ImageNetSource
