"""Reads annotations in PASCAL VOC's XML, which ImageNet has too."""

import re
from pathlib import Path
from xml.etree import ElementTree

from vwtransfer.datasets.annotation import Annotation, Object, annotation
from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.boxes import NO_BOX, Size, from_corners
from vwtransfer.files import decoded, read_regular

LARGEST_FILE = 1 << 22  # bytes
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""")
_UNMARKED = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}


def read_xml(path: Path) -> Annotation:
    """What is annotated in an image.

    A file that declares a document type is refused: with it, a few lines can name other files or
    unfold to gigabytes.

    Raises:
        UnusableError: the file is missing, cut off, or says something else.
    """
    root = _parse(path)
    objects = [_object(each) for each in root.iter("object")]
    named = [each for each in objects if each.name]
    if objects and not named:
        raise UnusableError(f"annotation {path.name} has objects, but none with a name")
    return annotation(_size(root), named, (root.findtext("filename") or "").strip() or None)


def _parse(path: Path) -> ElementTree.Element:
    try:
        text = _text(read_regular(path, LARGEST_FILE))
    except FileNotFoundError as error:
        raise UnusableError(f"there is no annotation {path.name}") from error
    except OSError as error:
        raise UnusableError(f"annotation {path.name} cannot be read ({error.strerror})") from error
    except (LookupError, ValueError) as error:
        raise UnusableError(f"annotation {path.name} is not in its encoding ({error})") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UnusableError(f"annotation {path.name} declares a document type")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise UnusableError(f"annotation {path.name} is cut off or not XML ({error})") from error


def _text(data: bytes) -> str:
    """In the encoding that the file's first bytes or its declaration state, else UTF-8.

    A declaration of UTF-16 in single bytes is wrong: .NET writes it, whatever the file is in.
    Punycode is no file's, and takes the square of its length.
    """
    declared = _DECLARED.match(data)
    named = declared[1].decode().lower() if declared else "utf-8"
    single = "utf-8" if named in ("utf-16", "unicode", "punycode") else named
    return decoded(data, _UNMARKED.get(data[:2], single))


def _object(element: ElementTree.Element) -> Object:
    name = element.findtext("name") or ""
    try:
        sides = (element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        box = from_corners(*(float(value) for value in sides))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        box = NO_BOX
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Object(name.strip(), box, ignored=difficult)


def _size(root: ElementTree.Element) -> Size | None:
    try:
        width, height = (int(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
