"""What a dataset is: images of named concepts, with boxes, split into training and held-out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol

from PIL import Image

from vwtransfer.datasets.bad_data import Skipped

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
        ignored: further boxes, of crowds and of objects marked as difficult: finding one is neither
            right nor wrong.
        ignored_labels: the concept in each of these.
    """

    id: str
    concept: str
    load: Callable[[], Image.Image]
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    ignored: tuple[Box, ...] = ()
    ignored_labels: tuple[str, ...] = ()


class Dataset(Protocol):
    """Images of ten concepts (the paper's section 4.1 and appendix D).

    A dataset whose images may leave something to say also has `remarks` (see `notes_of`), and one
    whose concepts go by more than their names has `descriptions` and `near_descriptions` (see
    `descriptions_of`, `left_out_of`).
    """

    @property
    def name(self) -> str:
        """The dataset's name in configs and results."""
        ...

    @property
    def concepts(self) -> Mapping[str, str]:
        """Concept -> its name in prompts."""
        ...

    @property
    def anchors(self) -> Sequence[str]:
        """Anchor words, the i-th paired with the i-th concept."""
        ...

    def training(self, concept: str) -> list[Example]:
        """The images a word for `concept` is trained on."""
        ...

    def held_out(self, concept: str) -> list[Example]:
        """The images chosen for `concept` that metrics are measured on."""
        ...


BOXES, NEGATIVES, HELD_OUT, NAMES = "boxes", "negatives", "held_out", "names"
"""What a task may need of a dataset: boxes, images of other concepts, images to measure on, and
names in prompts that tell its concepts apart."""


@dataclass(frozen=True)
class DatasetNotes:
    """What a person should know about a dataset's images.

    Attributes:
        lacks: some of these four -> why they are not there and how to have them.
        noted: such as fewer images than were asked for.
        skipped: files that could not be used.
    """

    lacks: Mapping[str, str] = field(default_factory=dict)
    noted: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def descriptions_of(dataset: Dataset) -> list[str]:
    """All that the concepts are called: the dataset's `descriptions`, or its concepts' names."""
    found = getattr(dataset, "descriptions", None)
    return list(dataset.concepts.values()) if found is None else list(found)


def left_out_of(dataset: Dataset, exclude: str) -> list[str]:
    """What neither support nor prompts of a transfer may spell out.

    Args:
        dataset: whose words are carried.
        exclude: "none": nothing; "description": all that its concepts are called; "strict": also
            what comes near to that, so that no prompt shares more than one attribute with a
            concept: the dataset's `near_descriptions`, or any two words of a description;
            "related": whatever says an attribute of one, the dataset's `related_words`, or any word
            of a description.
    """
    if exclude == "none":
        return []
    whole = descriptions_of(dataset)
    if exclude == "description":
        return whole
    attribute, count = ("near_descriptions", 2) if exclude == "strict" else ("related_words", 1)
    found = getattr(dataset, attribute, None)
    if found is None:
        found = [" ".join(some) for each in whole for some in combinations(each.split(), count)]
    return sorted({*whole, *found})


def notes_of(dataset: Dataset) -> DatasetNotes:
    """The dataset's `remarks`; none where it makes none."""
    found = getattr(dataset, "remarks", None)
    return found if isinstance(found, DatasetNotes) else DatasetNotes()


def training_examples(dataset: Dataset) -> list[Example]:
    """The training images of all concepts, in the dataset's order."""
    return [example for concept in dataset.concepts for example in dataset.training(concept)]


def held_out_examples(dataset: Dataset) -> list[Example]:
    """The held-out images of all concepts, in the dataset's order."""
    return [example for concept in dataset.concepts for example in dataset.held_out(concept)]
