"""Reads any image as a viewer shows it: upright, 8-bit RGB, on white where it is transparent."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.boxes import Size
from vwtransfer.errors import UserError

LARGEST_FILE = 1 << 29  # bytes

_ORIENTATION = 0x0112  # the tag in EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Stored:
    """An image file that can be read.

    Attributes:
        sha256: of its bytes.
        size: (width, height) of the pixels as stored.
        orientation: EXIF's, 1 to 8: how they are turned to be upright.
    """

    sha256: str
    size: Size
    orientation: int

    @property
    def upright_size(self) -> Size:
        """(width, height) of the loaded image."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)


class OnDemand(Mapping[str, Image.Image]):
    """Images by name, each made when it is asked for, so that one at a time is in memory."""

    def __init__(self, makers: Mapping[str, Callable[[], Image.Image]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Image.Image:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def examine(path: Path) -> Stored:
    """Decodes the file once, to know that it can be.

    Raises:
        UnusableError: it is missing, empty, cut off, too large or of a kind that is not read.
    """
    data = _bytes(path)
    image, orientation = _decode(data)
    _rgb(image)
    return Stored(hashlib.sha256(data).hexdigest(), image.size, orientation)


def read_image(path: Path) -> Image.Image:
    """The image as a viewer shows it, in RGB.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        image, orientation = _decode(_bytes(path))
        rgb = _rgb(image)
    except UnusableError as error:
        raise UserError(f"{path}: {error}.") from error
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def sha256(path: Path) -> str:
    """Hash of the file's bytes.

    Raises:
        UnusableError: it cannot be read.
    """
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise UnusableError(
                f"the file has {size:,} bytes; an image has at most {LARGEST_FILE:,}"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UnusableError("there is no such file") from error
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror})") from error
    if not data:
        raise UnusableError("the file is empty")
    return data


def _decode(data: bytes) -> tuple[Image.Image, int]:
    """The pixels as stored, and their orientation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnusableError(
                f"the image has more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down"
            ) from error
        except UnidentifiedImageError as error:
            raise UnusableError("not an image that PIL can read") from error
        except MemoryError as error:
            raise UnusableError("the image does not fit into memory") from error
        except Exception as error:  # decoders raise whatever damaged bytes lead them to
            raise UnusableError(f"damaged image ({error})") from error
    return image, orientation if orientation in _UPRIGHT else 1


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        image = _eight_bits(image)
    elif mode == "F":
        raise UnusableError("floating-point pixels have no known range; convert to 8 or 16 bits")
    try:
        if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return image.convert("RGB")
    except ValueError as error:
        raise UnusableError(f"pixels of mode {mode} are not read as colours ({error})") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grayscale image with 65535 as white; PIL alone would cut values off at 255."""
    levels_HW = np.asarray(image).astype(np.int64)
    if levels_HW.min() < 0 or levels_HW.max() > 65535:
        raise UnusableError("32-bit pixels have no known range; convert to 8 or 16 bits")
    return Image.fromarray(np.round(levels_HW / 257).astype(np.uint8))
