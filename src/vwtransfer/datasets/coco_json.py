"""Reads annotations in COCO's instances JSON, by file name."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vwtransfer.datasets.annotation import Annotation, Object, annotation
from vwtransfer.datasets.bad_data import Skipped
from vwtransfer.datasets.boxes import NO_BOX, Size, from_width
from vwtransfer.errors import UserError


@dataclass(frozen=True)
class Instances:
    """A file of instances.

    Attributes:
        images: file name -> what is annotated in it, in the order of the file.
        categories: their names.
        skipped: annotations of images that the file does not list.
    """

    images: Mapping[str, Annotation]
    categories: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def read_instances(path: Path) -> Instances:
    """Reads `images`, `annotations` and `categories`; segmentations are let go while reading.

    Raises:
        UserError: the file is missing, cut off, or not in COCO's format.
    """
    top = _load(path)
    for part in ("images", "annotations", "categories"):
        if not isinstance(top.get(part), list):
            raise UserError(f"{path}: has no list of {part}; it is not in COCO's instances format.")
    names = dict(_fields(each, path, "categories", "id", "name") for each in top["categories"])
    files = dict(_fields(each, path, "images", "id", "file_name") for each in top["images"])
    _refuse_twice([each["id"] for each in top["images"]], path, "id")
    _refuse_twice([each["file_name"] for each in top["images"]], path, "file_name")
    sizes = {each["id"]: _size(each) for each in top["images"]}
    objects: dict[Any, list[Object]] = {number: [] for number in files}
    skipped = []
    for each in top["annotations"]:
        image, category = _fields(each, path, "annotations", "image_id", "category_id")
        if image not in objects:
            entry = f"{path.name}, annotation {each.get('id')}"
            skipped.append(Skipped(entry, f"there is no image with id {image}"))
        elif category not in names:
            raise UserError(f"{path}: there is no category with id {category}.")
        else:
            objects[image].append(_object(each, str(names[category])))
    images = {str(files[n]): annotation(sizes[n], found) for n, found in objects.items()}
    return Instances(images, tuple(map(str, names.values())), tuple(skipped))


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            encoding = json.detect_encoding(file.read(4))
        with path.open(encoding=encoding) as file:
            top = json.load(file, object_hook=_without_segmentation)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is cut off or not JSON ({error}).") from error
    if not isinstance(top, dict):
        raise UserError(f"{path}: is not in COCO's instances format.")
    return top


def _without_segmentation(value: dict[str, Any]) -> dict[str, Any]:
    """Outlines are most of the file, and would be gigabytes in memory."""
    value.pop("segmentation", None)
    return value


def _fields(entry: Any, path: Path, part: str, *names: str) -> tuple[Any, Any]:
    first, second = names
    try:
        hash(entry[first])
        hash(entry[second])
        return entry[first], entry[second]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: an entry of {part} lacks {first} or {second}.") from error


def _refuse_twice(values: list[Any], path: Path, key: str) -> None:
    value, times = Counter(values).most_common(1)[0] if values else (None, 0)
    if times > 1:
        raise UserError(f"{path}: {times} images have the {key} {value}.")


def _size(image: Mapping[str, Any]) -> Size | None:
    width, height = image.get("width"), image.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return (width, height)
    return None


def _object(entry: Mapping[str, Any], name: str) -> Object:
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
        box = from_width(x, y, width, height)
    except (KeyError, TypeError, ValueError, OverflowError):
        box = NO_BOX
    return Object(name, box, bool(entry.get("iscrowd", 0)), entry.get("verified", True) is True)
