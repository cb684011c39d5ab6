"""Reads any image as a viewer shows it: upright, 8-bit sRGB, on white where it is transparent."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.boxes import Size
from vwtransfer.errors import UserError
from vwtransfer.files import read_regular

LARGEST_FILE = 1 << 29  # bytes
# what generators of images write into PNG files is longer than PIL takes for sound
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 27  # bytes
SAME_COLOUR = 2  # levels of 255 by which a profile may differ from sRGB to be taken for it

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHERS = {  # first bytes, in lower case
    b"version https://git-lfs": "a git-lfs pointer; fetch the files with: git lfs pull",
    b"<!doctype html": "an HTML page; download the image again",
    b"<html": "an HTML page; download the image again",
    b"<svg": "a drawing (SVG); convert it to PNG",
    b"<?xml": "XML",
    b"%pdf": "a PDF",
    b"pk\x03\x04": "a ZIP archive",
}
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_GRAY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")

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
        profile: name of the colour profile that they are converted from; None for sRGB.
    """

    sha256: str
    size: Size
    orientation: int
    profile: str | None

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
    found = _profile(image)
    _rgb(image, found)
    name = found.name if found else None
    return Stored(hashlib.sha256(data).hexdigest(), image.size, orientation, name)


def read_image(path: Path, use_profile: bool = True) -> Image.Image:
    """The image as a viewer shows it, in sRGB.

    Args:
        path: its file.
        use_profile: whether to convert from a colour profile; before there was none of this, the
            colours of all images were taken for sRGB.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        image, orientation = _decode(_bytes(path))
        rgb = _rgb(image, _profile(image) if use_profile else None)
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
        data = read_regular(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise UnusableError("there is no such file") from error
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror})") from error
    if not data:
        raise UnusableError("the file is empty")
    return data


def _looks_like(data: bytes) -> str:
    """What a file is that is no image to PIL, by its first bytes, and what to do."""
    if data[4:8] == b"ftyp":
        if data[8:12] in _HEIC:
            return ": it is HEIC; convert it to JPEG or PNG"
        return ": it is AVIF, damaged" if data[8:11] == b"avi" else ": it is a video"
    start = data[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return next(
        (f": it is {what}" for first, what in _OTHERS.items() if start.startswith(first)), ""
    )


def _decode(data: bytes) -> tuple[Image.Image, int]:
    """The pixels as stored, and their orientation."""
    if data.startswith(_POSTSCRIPT):  # to read it, PIL would run it
        raise UnusableError("PostScript, which is a program; convert it to PNG")
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
            raise UnusableError(f"not an image that PIL can read{_looks_like(data)}") from error
        except MemoryError as error:
            raise UnusableError("the image does not fit into memory") from error
        except Exception as error:  # decoders raise whatever damaged bytes lead them to
            raise UnusableError(f"damaged image ({error})") from error
    return image, orientation if orientation in _UPRIGHT else 1


@dataclass(frozen=True)
class _Profile:
    """A colour profile by its name, the mode of the pixels that it is of, and the way to sRGB."""

    name: str
    mode: str
    transform: ImageCms.ImageCmsTransform


def _profile(image: Image.Image) -> _Profile | None:
    """The colour profile that the pixels are to be converted from; None where they are sRGB."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    found = _read_profile(bytes(data))
    cmyk = image.mode == "CMYK"
    of = {"RGB": not cmyk, "L": image.mode in _GRAY, "CMYK": cmyk}
    return found if found and of[found.mode] else None


@lru_cache(maxsize=32)
def _read_profile(data: bytes) -> _Profile | None:
    """None where it is as good as sRGB, or cannot be read, which viewers ignore."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[source.profile.xcolor_space.strip()]
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        return None
    if mode != "CMYK":
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, 256, 3)
        probe = Image.fromarray(colours).convert(mode)
        shown = np.asarray(transform.apply(probe), dtype=int)
        if np.abs(shown - np.asarray(probe.convert("RGB"))).max() <= SAME_COLOUR:
            return None
    return _Profile(name, mode, transform)


def _rgb(image: Image.Image, profile: _Profile | None) -> Image.Image:
    mode, transparent = image.mode, "transparency" in image.info
    if mode == "I" or mode.startswith("I;16"):
        image = _eight_bits(image)
    elif mode == "F":
        raise UnusableError("floating-point pixels have no known range; convert to 8 or 16 bits")
    try:
        colours = image
        if profile:
            colours = profile.transform.apply(image.convert(profile.mode))
        if "A" in image.getbands() or "a" in image.getbands() or transparent:
            rgba = image.convert("RGBA")
            if profile:
                colours.putalpha(rgba.getchannel("A"))
                rgba = colours
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return colours.convert("RGB")
    except ValueError as error:
        raise UnusableError(f"pixels of mode {mode} are not read as colours ({error})") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grayscale image with 65535 as white; PIL alone would cut values off at 255."""
    levels_HW = np.asarray(image).astype(np.int64)
    if levels_HW.min() < 0 or levels_HW.max() > 65535:
        raise UnusableError("32-bit pixels have no known range; convert to 8 or 16 bits")
    return Image.fromarray(np.round(levels_HW / 257).astype(np.uint8))
