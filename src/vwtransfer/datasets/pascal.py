"""PASCAL VOC: JPEGImages/, Annotations/ and ImageSets/Main/{train,val}.txt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vwtransfer.datasets.annotation import Annotation, Candidates, by_category, labels_of
from vwtransfer.datasets.bad_data import Skipped, UnusableError, path_inside
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.datasets.selection import DatasetSpec
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError


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
        asked, folder = DatasetSpec(**wanted), Path(root).expanduser()
        inner = (folder / "VOCdevkit" / f"VOC{edition}", folder / f"VOC{edition}")
        folder = next((each for each in inner if each.is_dir()), folder)
        labels = labels_of(categories, asked.concepts, f"dataset.{asked.name}.categories")
        super().__init__(
            asked,
            {"root": folder},
            lambda: _candidates(folder, labels),
            manifest,
            also=[categories[concept] for concept in asked.concepts],
        )


def _candidates(folder: Path, labels: Mapping[str, str]) -> Candidates:
    (training, skipped_training), (held_out, skipped_held_out) = (
        _annotated(folder, split) for split in ("train", "val")
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
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); it is needed to tell the splits apart."
        ) from error
    annotated, skipped = {}, []
    for name in names:
        try:
            xml = path_inside(folder, f"Annotations/{name}.xml")
            annotated[f"JPEGImages/{name}.jpg"] = read_xml(xml)
        except UnusableError as error:
            skipped.append(Skipped(f"JPEGImages/{name}.jpg", str(error)))
    return annotated, skipped
