"""COCO: train2017/, val2017/ and annotations/instances_{train,val}2017.json; 2014 likewise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.photo_folders import images_in
from vwtransfer.datasets.annotation import Candidates, by_category, labels_of
from vwtransfer.datasets.bad_data import is_inside
from vwtransfer.datasets.coco_json import Instances, read_instances
from vwtransfer.datasets.matching import photos_named
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.errors import UserError, nearest

ANNOTATIONS = "annotations"  # the folder of the JSON files


class Coco(ImageFileDataset):
    """An image's concept is the category of its largest box; crowds are ignored.

    Args:
        root: the folder that holds train2017/ and annotations/.
        edition: 2017 or 2014.
        categories: concept -> category name in the JSON.
        manifest: file of a former choice; with it the JSON files are not read.
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
        labels = labels_of(categories, asked.concepts, f"dataset.{asked.name}.categories")
        super().__init__(
            asked,
            {"root": folder},
            lambda: candidates(folder, edition, labels, asked)[0],
            manifest,
            also=[categories[concept] for concept in asked.concepts],
        )


def candidates(
    folder: Path, edition: int, labels: Mapping[str, str], wanted: DatasetSpec
) -> tuple[Candidates, dict[str, str]]:
    """All images of the concepts, and file -> the address of each image that has one.

    Args:
        folder: holds annotations/.
        edition: 2017 or 2014.
        labels: category -> concept.
        wanted: the dataset's concepts and sizes.
    """
    training, held_out = (_instances(folder, f"{split}{edition}") for split in ("train", "val"))
    for category in labels:
        if category not in training.categories:
            raise UserError(
                f"dataset.{wanted.name}.categories: {category} is no category of "
                f"{folder / 'annotations'}. {nearest(category, training.categories)}"
            )
    found = Candidates(
        by_category(training.images, labels),
        by_category(held_out.images, labels),
        labels,
        skipped=training.skipped + held_out.skipped,
    )
    return found, {**training.addresses, **held_out.addresses}


def _instances(folder: Path, split: str) -> Instances:
    """The split's instances, by path in the dataset's folder."""
    found = read_instances(folder / ANNOTATIONS / f"instances_{split}.json")
    names = {name: f"{split}/{name}".replace("\\", "/") for name in found.images}
    first = next(iter(names.values()), None)
    if first and not is_inside(folder, first):  # all are as an exporter spelled them
        files = [path.relative_to(folder).as_posix() for path in images_in(folder / split)]
        names |= {name: file for file, name in photos_named(names, files).items()}
    images = {names[name]: annotation for name, annotation in found.images.items()}
    addresses = {names[name]: address for name, address in found.addresses.items()}
    return Instances(images, found.categories, found.skipped, addresses)
