"""What an annotation file says about an image, whatever its format."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vwtransfer.datasets import Box
from vwtransfer.datasets.bad_data import Skipped, UnusableError
from vwtransfer.datasets.boxes import Size, area, refuse_no_box
from vwtransfer.errors import UserError, nearest

LARGEST_SIDE = 1 << 31  # pixels that an annotation may state; no image has so many

Place = Literal["root", "negatives"]
"""Which of a dataset's folders a file is in: its own, or that of further photos."""


@dataclass(frozen=True)
class Object:
    """One annotated object.

    Attributes:
        name: its category, as the annotation calls it.
        box: in the frame of the annotation.
        ignored: a crowd (COCO) or a difficult one (PASCAL VOC): neither to be found nor a mistake
            to find, and nothing that says what the image shows.
        verified: False where a detector drew the box and nobody has looked at it.
    """

    name: str
    box: Box
    ignored: bool = False
    verified: bool = True


@dataclass(frozen=True)
class Annotation:
    """All that is annotated in an image.

    Attributes:
        size: (width, height) it was annotated in, if stated.
        objects: those with a box.
        boxless: those without a usable one, each with the reason.
        file: the image's name, if stated.
        lacking: why there is none of the image, if that is so.
    """

    size: Size | None
    objects: tuple[Object, ...]
    boxless: tuple[tuple[Object, str], ...] = ()
    file: str | None = None
    lacking: str | None = None

    def category(self) -> str | None:
        """What the image shows: the category of its largest box; without any, of an object."""
        counted = [each for each in self.objects if not each.ignored]
        if counted:
            return max(counted, key=lambda each: area(each.box)).name
        return next((each.name for each, _ in self.boxless if not each.ignored), None)


def annotation(size: Size | None, objects: Iterable[Object], file: str | None = None) -> Annotation:
    """An annotation in which objects without a usable box stand apart, wherever they were."""
    usable, boxless = [], []
    for each in objects:
        try:
            refuse_no_box(each.box)
            usable.append(each)
        except UnusableError as error:
            boxless.append((each, str(error)))
    if size is not None:
        size = (min(size[0], LARGEST_SIDE), min(size[1], LARGEST_SIDE))
    return Annotation(size, tuple(usable), tuple(boxless), file)


@dataclass(frozen=True)
class Candidate:
    """An image that may be chosen for a concept.

    Attributes:
        file: path in its folder, with forward slashes.
        annotation: what is annotated; a path to the XML file that says so; None if nothing is.
        folder: which of the dataset's folders it is in.
    """

    file: str
    annotation: Annotation | Path | None
    folder: Place = "root"


Pool = Mapping[str, list[Candidate]]


@dataclass(frozen=True)
class Candidates:
    """The images a dataset has to choose from.

    Attributes:
        training: concept -> images.
        held_out: the same for the validation split; None where there are no splits.
        labels: category as annotations call it -> concept.
        others: further concepts that no word is trained for -> their names in prompts.
        displayed: whether annotations are of the image as viewers turn it, where their stated size
            does not tell; else of the pixels as stored.
        skipped: annotations that cannot be used.
        noted: what else was left out, counted, with the reason.
    """

    training: Pool
    held_out: Pool | None
    labels: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)
    displayed: bool = False
    skipped: tuple[Skipped, ...] = ()
    noted: tuple[str, ...] = ()


def by_category(
    annotated: Mapping[str, Annotation], labels: Mapping[str, str]
) -> dict[str, list[Candidate]]:
    """Concept -> the images whose largest box is of it.

    Args:
        annotated: file -> annotation.
        labels: category -> concept.
    """
    pool: dict[str, list[Candidate]] = {concept: [] for concept in labels.values()}
    for file, annotation in annotated.items():
        concept = labels.get(annotation.category() or "")
        if concept is not None:
            pool[concept].append(Candidate(file, annotation))
    return pool


def labels_of(names: Mapping[str, str], concepts: Iterable[str], key: str) -> dict[str, str]:
    """Category as annotations call it -> concept.

    Args:
        names: concept -> category, as configured under `key`.
        concepts: that the dataset is to have.
        key: where the names stand in the config.

    Raises:
        UserError: a concept has no category.
    """
    labels = {}
    for concept in concepts:
        if concept not in names:
            raise UserError(f"{key}.{concept}: is missing. {nearest(concept, names)}")
        labels[names[concept]] = concept
    return labels
