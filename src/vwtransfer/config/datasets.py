"""The keys of the datasets in this folder, checked at the door."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from vwtransfer.config.schema import Bounds

Count = Annotated[int, Bounds(least=1)]


@dataclass(frozen=True)
class DatasetSpec:
    """What every dataset says of itself.

    Attributes:
        name: as in results and file names.
        concepts: concept -> its name in prompts.
        anchors: vocabulary words, the i-th paired with the i-th concept.
        training_images: how many a word is trained on.
        held_out_images: how many of a concept are measured on.
        seed: of the choice, or the drawing, of images.
    """

    name: str
    concepts: Mapping[str, str]
    anchors: tuple[str, ...]
    training_images: Annotated[int, Bounds(least=2)]
    held_out_images: Count
    seed: Annotated[int, Bounds(least=0)]


@dataclass(frozen=True)
class _Photos(DatasetSpec):
    """What every dataset of image files has beside it.

    Attributes:
        root: the dataset's folder.
        manifest: file of a former choice of images; None to choose by seed.
    """

    root: Path
    manifest: Path | None


@dataclass(frozen=True)
class ImageNet(_Photos):
    """See `imagenet.ImageNet`."""

    layout: Literal["CLS-LOC", "DET"]
    wnids: Mapping[str, str]


@dataclass(frozen=True)
class DreamBooth(_Photos):
    """See `dreambooth.DreamBooth`."""

    boxes: Path | None
    allow_unverified: bool


@dataclass(frozen=True)
class Coco(_Photos):
    """See `coco.Coco`."""

    edition: Literal[2017, 2014]
    categories: Mapping[str, str]


@dataclass(frozen=True)
class PascalVOC(_Photos):
    """See `pascal.PascalVOC`."""

    edition: Literal[2012, 2011, 2010, 2009, 2008, 2007]
    categories: Mapping[str, str]


@dataclass(frozen=True)
class Folder(_Photos):
    """See `folder.Folder`."""

    boxes: Path | None
    allow_unverified: bool
    negatives: Path | None
    distractors: Mapping[str, Any] | None


SCHEMAS: Mapping[str, type] = {
    "vwtransfer.datasets.imagenet.ImageNet": ImageNet,
    "vwtransfer.datasets.dreambooth.DreamBooth": DreamBooth,
    "vwtransfer.datasets.coco.Coco": Coco,
    "vwtransfer.datasets.pascal.PascalVOC": PascalVOC,
    "vwtransfer.datasets.folder.Folder": Folder,
}
