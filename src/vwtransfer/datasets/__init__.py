"""What a dataset is: images of named concepts, with boxes, split into training and held-out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Example:
    """One image and what is annotated in it.

    Attributes:
        id: name of the image, unique and stable within its dataset.
        concept: the concept the image was chosen for.
        load: reads or draws the image (RGB).
        boxes: (x0, y0, x1, y1) in pixels of the loaded image, one for each labelled object.
        labels: the concept in each box; only the dataset's own concepts are labelled.
    """

    id: str
    concept: str
    load: Callable[[], Image.Image]
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]


class Dataset(Protocol):
    """Images of ten concepts (SPEC of the paper: section 4.1 and appendix D).

    Attributes:
        name: the dataset's name in configs and results.
        concepts: concept -> its name in prompts.
        anchors: anchor words, the i-th paired with the i-th concept.
    """

    name: str
    concepts: Mapping[str, str]
    anchors: Sequence[str]

    def training(self, concept: str) -> list[Example]:
        """The images a word for `concept` is trained on."""
        ...

    def held_out(self, concept: str) -> list[Example]:
        """The images chosen for `concept` that metrics are measured on."""
        ...
