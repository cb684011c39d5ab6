"""What a task is: how well words do in a model, measured on held-out images. A file for each task.

Trainer, evaluator and grid know no task by name.

Letters: N words, M images, T boxes of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from vwtransfer.datasets import NAMES, Dataset, Example, notes_of
from vwtransfer.models.embedding_space import Prompts


@dataclass(frozen=True)
class Detected:
    """What a model found in one image.

    Attributes:
        example: the image, with what is annotated in it.
        box_T4: corners (x0, y0, x1, y1) in its pixels, the best first.
        score_T: their scores.
    """

    example: Example
    box_T4: Tensor
    score_T: Tensor


@dataclass(frozen=True)
class Measurement:
    """What one word reached in one model.

    Attributes:
        values: metric -> value.
        num_images: that the values were measured on.
        images: what the model made of the word, where it makes images.
        unsafe: whether the safety checker flags any of them; None where it was not asked.
        detected: what it found in some of the images, where it finds things, for a person to see.
        prompted: what it made of the word in further prompts, where it was asked to.
        num_images_of: metric -> images that it was measured on, where these are others.
    """

    values: dict[str, float]
    num_images: int
    images: list[Image.Image] = field(default_factory=list)
    unsafe: bool | None = None
    detected: list[Detected] = field(default_factory=list)
    prompted: list[Image.Image] = field(default_factory=list)
    num_images_of: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied:
    """What a person is shown of one word.

    Attributes:
        columns, rows: a table.
        pictures: file name -> what to look at.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)


class Task(Protocol):
    """What is measured of words in the models of a task, and how.

    A task that also has `apply(model, prompts, images, label) -> Applied` can be tried with one
    word. One that has `templates` is also given words in these, by `measure_prompted(model,
    {template: prompts}, held_out, concepts, measured)`, and adds to what it `measured` of them.

    Attributes:
        name: in configs and results.
        metrics: what `measure` reports, the headline first.
        measured_with: what measuring needs of a dataset: some of `datasets.BOXES`, `NEGATIVES`,
            `HELD_OUT`, `NAMES`. What a single metric needs beside stands in `needs`, where a task
            has that; what is measured in its place where names do not tell concepts apart, with
            what that needs, in `by_images`.
    """

    name: str
    metrics: tuple[str, ...]
    measured_with: tuple[str, ...]

    def words_at_once(self, model: Any) -> int:
        """How many words `measure` best takes together."""
        ...

    def chance(self, concepts: int) -> dict[str, float]:
        """Metrics of a random guess among `concepts`, where that is known without measuring."""
        ...

    def held_out(self, model: Any, dataset: Dataset) -> Any:
        """All that measuring reads of a dataset, computed once."""
        ...

    def measure(
        self, model: Any, prompts: Prompts, held_out: Any, concepts: Sequence[str]
    ) -> list[Measurement]:
        """How well each encoded prompt does for the concept beside it.

        Args:
            model: of this task.
            prompts: N, encoded by the model.
            held_out: what `held_out` gave.
            concepts: N of the dataset's.
        """
        ...


def measurable(task: Task, dataset: Dataset) -> tuple[str, ...]:
    """Those of a task's metrics that the dataset has the images for."""
    lacks = set(notes_of(dataset).lacks)
    needs: Mapping[str, Sequence[str]] = getattr(task, "needs", {})
    needed = {name: {*task.measured_with, *needs.get(name, ())} for name in task.metrics}
    if NAMES in lacks:
        needed |= {name: set(of) for name, of in getattr(task, "by_images", {}).items()}
    return tuple(name for name, needs_of in needed.items() if not needs_of & lacks)
