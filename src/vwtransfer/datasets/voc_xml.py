"""Reads annotations in PASCAL VOC's XML, which ImageNet has too."""

from pathlib import Path
from xml.etree import ElementTree

from vwtransfer.datasets.annotation import Annotation, Object
from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.boxes import Size, from_corners

LARGEST_FILE = 1 << 22  # bytes


def read_xml(path: Path) -> Annotation:
    """What is annotated in an image.

    A file that declares a document type is refused: with it, a few lines can name other files or
    unfold to gigabytes.

    Raises:
        UnusableError: the file is missing, cut off, or says something else.
    """
    root = _parse(path)
    try:
        objects = tuple(_object(each) for each in root.iter("object"))
    except (TypeError, ValueError) as error:
        raise UnusableError(f"annotation {path.name} has an object without name or box") from error
    return Annotation(_size(root), objects)


def _parse(path: Path) -> ElementTree.Element:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UnusableError(f"annotation {path.name} has more than {LARGEST_FILE:,} bytes")
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise UnusableError(f"there is no annotation {path.name}") from error
    except OSError as error:
        raise UnusableError(f"annotation {path.name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"annotation {path.name} is not in UTF-8") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UnusableError(f"annotation {path.name} declares a document type")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UnusableError(f"annotation {path.name} is cut off or not XML ({error})") from error


def _object(element: ElementTree.Element) -> Object:
    name = element.findtext("name")
    if name is None:
        raise ValueError
    sides = (element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    box = from_corners(*(float(value) for value in sides))  # type: ignore[arg-type]
    return Object(name.strip(), box, ignored=element.findtext("difficult", "0").strip() == "1")


def _size(root: ElementTree.Element) -> Size | None:
    try:
        width, height = (int(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
