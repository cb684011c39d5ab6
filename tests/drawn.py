"""Pictures with a coloured rectangle in each, as a dataset and as files to try loaders on."""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from vwtransfer.datasets import Box, Example

CONCEPTS = {"red": "red thing", "lime": "lime thing", "blue": "blue thing"}
ANCHORS = ["cat", "boot", "harp"]
WNIDS = {concept: f"n{i:08}" for i, concept in enumerate(CONCEPTS, start=1)}


class Drawn:
    """Each image shows one rectangle in the colour of its concept, on a gray of its own."""

    name = "drawn"
    concepts: Mapping[str, str] = CONCEPTS
    anchors: Sequence[str] = ANCHORS

    def training(self, concept: str) -> list[Example]:
        return [self._example(concept, f"training-{i}") for i in range(4)]

    def held_out(self, concept: str) -> list[Example]:
        return [self._example(concept, f"held_out-{i}") for i in range(2)]

    def _example(self, concept: str, name: str) -> Example:
        rng = random.Random(f"{concept} {name}")
        x, y = rng.randrange(8, 24), rng.randrange(8, 24)
        box = (float(x), float(y), float(x + rng.randrange(8, 32)), float(y + rng.randrange(8, 16)))
        load = partial(rectangle, concept, box, gray=rng.randrange(40, 200))
        return Example(f"{concept}-{name}", concept, load, (box,), (concept,))


def rectangle(colour: str, box: Box, gray: int = 128) -> Image.Image:
    """A 64 x 48 image that is `colour` exactly inside the box."""
    image = Image.new("RGB", (64, 48), (gray, gray, gray))
    x0, y0, x1, y1 = box
    ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    return image


def wanted(training: int = 4, held_out: int = 2, **other: Any) -> dict[str, Any]:
    """The keys that every loader takes."""
    values = {
        "name": "drawn",
        "concepts": CONCEPTS,
        "anchors": ANCHORS,
        "training_images": training,
        "held_out_images": held_out,
        "seed": 0,
    }
    return {**values, **other}


def photo(
    path: Path, colour: str, size: tuple[int, int] = (12, 8), mode: str = "RGB", **options: Any
) -> Path:
    """Writes an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


def photos(folder: Path, counts: Mapping[str, int]) -> Path:
    """Writes a folder of each colour with so many images, none like another."""
    for colour, count in counts.items():
        for i in range(count):
            photo(folder / colour / f"{i:02}.png", colour, (12 + i, 8))
    return folder
