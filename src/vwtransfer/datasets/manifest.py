"""Which images were chosen, as a file that gives the same images and boxes anywhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vwtransfer.config.schema import build
from vwtransfer.datasets.annotation import Place
from vwtransfer.datasets.bad_data import Skipped
from vwtransfer.errors import UserError
from vwtransfer.files import decoded, read_regular, write_json

Split = Literal["training", "held_out"]
Format = Literal["vwtransfer manifest 1"]
FORMAT: Format = "vwtransfer manifest 1"
LARGEST_FILE = 1 << 30  # bytes


@dataclass(frozen=True)
class LabelledBox:
    """A box (x0, y0, x1, y1) in pixels of the upright image; `ignored` as in `Example`."""

    concept: str
    box: tuple[float, ...]
    ignored: bool


@dataclass(frozen=True)
class Photo:
    """One chosen image.

    Attributes:
        file: path in its folder, with forward slashes.
        folder: "root", or "negatives" for images from `negatives` of a dataset of folders.
        sha256: of the file's bytes.
        concept: what it was chosen for.
        split: what it is used for.
        verified: whether a person has looked at all of its boxes.
        boxes: what is annotated.
        profile: name of the colour profile that the pixels are converted from; None where they are
            taken for sRGB, as those of all images once were.
    """

    file: str
    folder: Place
    sha256: str
    concept: str
    split: Split
    verified: bool
    boxes: tuple[LabelledBox, ...]
    profile: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A choice of images.

    Attributes:
        format: of the file.
        dataset: the dataset's name.
        concepts: concept -> its name in prompts, with those that no word is trained for.
        images: in the order they are used.
        noted: what was short.
        skipped: files that were met while choosing and cannot be used.
    """

    format: Format
    dataset: str
    concepts: Mapping[str, str]
    images: tuple[Photo, ...]
    noted: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def of(self, concept: str, split: Split) -> list[Photo]:
        """The images of a concept."""
        return [each for each in self.images if (each.concept, each.split) == (concept, split)]


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes a manifest as JSON; see `files.write_atomically`."""
    write_json(path, asdict(manifest))


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest; the images themselves are not looked at.

    Raises:
        UserError: the file is missing, cut off, or no manifest.
    """
    try:
        values = json.loads(decoded(read_regular(path, LARGEST_FILE)))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is cut off or not JSON ({error}).") from error
    manifest = build(Manifest, values, str(path))
    for image in manifest.images:
        for each in image.boxes:
            if len(each.box) != 4:
                raise UserError(f"{path}: a box of {image.file} has {len(each.box)} numbers.")
    return manifest
