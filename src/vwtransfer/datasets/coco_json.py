"""Reads annotations in COCO's instances JSON, by file name."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vwtransfer.datasets.annotation import Annotation, Object, annotation
from vwtransfer.datasets.bad_data import Skipped
from vwtransfer.datasets.boxes import NO_BOX, Size, from_width
from vwtransfer.errors import UserError
from vwtransfer.files import read_regular

LARGEST_FILE = 1 << 33  # bytes


@dataclass(frozen=True)
class Instances:
    """A file of instances.

    Attributes:
        images: file name -> what is annotated in it, in the order of the file.
        categories: their names.
        skipped: annotations of images that the file does not list.
        addresses: file name -> where the image is published (`coco_url`), where that is stated.
    """

    images: Mapping[str, Annotation]
    categories: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    addresses: Mapping[str, str] = field(default_factory=dict)


def read_instances(path: Path) -> Instances:
    """Reads `images`, `annotations` and `categories`; segmentations are let go while reading.

    Raises:
        UserError: the file is missing, cut off, or not in COCO's format.
    """
    top = _load(path)
    for part in ("images", "annotations", "categories"):
        if not isinstance(top.get(part), list):
            raise UserError(f"{path}: has no list of {part}; it is not in COCO's instances format.")
    categories = [_fields(each, path, "categories", "id", "name") for each in top["categories"]]
    files = [_fields(each, path, "images", "id", "file_name") for each in top["images"]]
    _refuse_twice([number for number, _ in categories], path, "categories", "id")
    _refuse_twice([number for number, _ in files], path, "images", "id")
    _refuse_twice([name for _, name in files], path, "images", "file_name")
    names = dict(categories)
    objects: dict[str, list[Object]] = {number: [] for number, _ in files}
    skipped = []
    for each in top["annotations"]:
        image, category = _fields(each, path, "annotations", "image_id", "category_id")
        if image not in objects:
            entry = f"{path.name}, annotation {each.get('id')}"
            skipped.append(Skipped(entry, f"there is no image with id {image}"))
        elif category not in names:
            raise UserError(f"{path}: there is no category with id {category}.")
        else:
            objects[image].append(_object(each, names[category]))
    images = {
        name: annotation(_size(each), objects[number])
        for each, (number, name) in zip(top["images"], files, strict=True)
    }
    addresses = {
        name: each["coco_url"]
        for each, (_, name) in zip(top["images"], files, strict=True)
        if isinstance(each.get("coco_url"), str)
    }
    return Instances(images, tuple(names.values()), tuple(skipped), addresses)


def _load(path: Path) -> dict[str, Any]:
    try:
        data = read_regular(path, LARGEST_FILE)
        text = data.decode(json.detect_encoding(data))
        del data  # of half a gigabyte
        top = json.loads(text, object_hook=_without_segmentation)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not in UTF-8 ({error.reason}); save it so.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is cut off or not JSON ({error}).") from error
    if not isinstance(top, dict):
        raise UserError(f"{path}: is not in COCO's instances format.")
    return top


def _without_segmentation(value: dict[str, Any]) -> dict[str, Any]:
    """Outlines are most of the file, and would be gigabytes in memory."""
    value.pop("segmentation", None)
    return value


def _fields(entry: Any, path: Path, part: str, first: str, second: str) -> tuple[str, str]:
    """Two of an entry's values, as texts: exporters write one id as 7, as "7" and as 7.0."""
    if not isinstance(entry, dict) or entry.get(first) is None or entry.get(second) is None:
        raise UserError(f"{path}: an entry of {part} lacks {first} or {second}.")
    one, other = (
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in (entry[first], entry[second])
    )
    return one, other


def _refuse_twice(values: list[str], path: Path, part: str, key: str) -> None:
    value, times = Counter(values).most_common(1)[0] if values else (None, 0)
    if times > 1:
        raise UserError(f"{path}: {times} {part} have the {key} {value}.")


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
    crowd = str(entry.get("iscrowd")).lower() in ("1", "1.0", "true")
    return Object(name, box, crowd, entry.get("verified", True) is True)
