"""PASCAL VOC: JPEGImages/, Annotations/ and ImageSets/Main/{train,val}.txt."""

import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.photo_folders import suffixes
from vwtransfer.datasets.annotation import Annotation, Candidates, by_category, labels_of
from vwtransfer.datasets.bad_data import Skipped, UnusableError, is_inside, path_inside
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError, nearest
from vwtransfer.files import decoded, read_regular

LARGEST_LIST = 1 << 26  # bytes
_USUAL = (".jpg", ".jpeg", ".png")
_FLAG = re.compile(r"\s+(-1|0|1)$")  # whether the image shows what the list is of


class PascalVOC(ImageFileDataset):
    """An image's concept is the category of its largest box; difficult objects are ignored.

    Args:
        root: the folder that holds JPEGImages/, or VOCdevkit/VOC2012/ with it.
        edition: the year, for the second.
        categories: concept -> category name in the XML (airplane is aeroplane there).
        manifest: file of a former choice; with it annotations are not read.
        wanted: name, concepts, anchors, training_images, held_out_images and seed.

    Raises:
        UserError: see `ImageFileDataset`.
    """

    def __init__(
        self,
        root: str,
        edition: int,
        categories: Mapping[str, str],
        manifest: str | None = None,
        **wanted: Any,
    ) -> None:
        asked, folder = DatasetSpec(**wanted), folder_in(Path(root).expanduser(), edition)
        labels = labels_of(categories, asked.concepts, f"dataset.{asked.name}.categories")
        super().__init__(
            asked,
            {"root": folder},
            lambda: candidates(folder, labels, asked.name),
            manifest,
            also=[categories[concept] for concept in asked.concepts],
        )


def folder_in(root: Path, edition: int) -> Path:
    """The folder that holds JPEGImages/: `root`, or one inside it."""
    inner = (root / "VOCdevkit" / f"VOC{edition}", root / f"VOC{edition}")
    return next((each for each in inner if each.is_dir()), root)


def candidates(folder: Path, labels: Mapping[str, str], name: str) -> Candidates:
    """All images of the concepts.

    Args:
        folder: holds JPEGImages/.
        labels: category -> concept.
        name: the dataset's.
    """
    (training, skipped_training), (held_out, skipped_held_out) = (
        _annotated(folder, split) for split in ("train", "val")
    )
    every = [*training.values(), *held_out.values()]
    names = sorted({each.name for found in every for each in found.objects})
    unread = bool(skipped_training or skipped_held_out)
    for category in labels:
        if names and category not in names and not unread:
            raise UserError(
                f"dataset.{name}.categories: {category} is no category of "
                f"{folder / 'Annotations'}. {nearest(category, names)}"
            )
    return Candidates(
        by_category(training, labels),
        by_category(held_out, labels),
        labels,
        skipped=tuple(skipped_training + skipped_held_out),
    )


def _annotated(folder: Path, split: str) -> tuple[dict[str, Annotation], list[Skipped]]:
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = decoded(read_regular(path, LARGEST_LIST)).splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is not in UTF-8: {error}"
        raise UserError(
            f"{path}: cannot be read ({why}); it is needed to tell the splits apart."
        ) from error
    annotated, skipped = {}, []
    for name in dict.fromkeys(each for line in lines for each in _names(folder, line.strip())):
        try:
            annotation = read_xml(path_inside(folder, f"Annotations/{name}.xml"))
            annotated[_image(folder, name, annotation.file)] = annotation
        except UnusableError as error:
            skipped.append(Skipped(f"JPEGImages/{name}.jpg", str(error)))
    return annotated, skipped


def _names(folder: Path, line: str) -> list[str]:
    """The images that a line of a list names: one, with a path, suffix or flag, or several."""
    unflagged = _FLAG.sub("", line)
    for text in (line, unflagged):
        path = PureWindowsPath(text)
        for name in (text, path.stem, path.name):
            if name and is_inside(folder, f"Annotations/{name}.xml"):
                return [name]
    return unflagged.split()


def _image(folder: Path, name: str, stated: str | None) -> str:
    """The image beside an annotation: of its name, else as the annotation states, or alike."""
    usual = f"JPEGImages/{name}.jpg"
    others = [f"JPEGImages/{PureWindowsPath(stated).name}"] if stated else []
    every = sorted(suffixes(), key=lambda suffix: (suffix not in _USUAL, suffix))
    others += [f"JPEGImages/{name}{s}" for suffix in every for s in (suffix, suffix.upper())]
    return next((each for each in (usual, *others) if is_inside(folder, each)), usual)
