"""What goes from the work to the process that talks to wandb: plain values, pickled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Opening:
    """The first message.

    Attributes:
        folder: of the study; wandb's files go to its wandb/.
        mode: as in the config.
        patience: seconds to wait for uploads at the end.
        began: time (seconds since 1970) from which steps count.
        process: id of the process that works, for the system's metrics.
    """

    folder: str
    mode: str
    project: str
    entity: str | None
    patience: float
    began: float
    process: int


@dataclass(frozen=True)
class Run:
    """A run of wandb; `key` names it in further messages.

    Attributes:
        axes: pattern of names -> the name that is their x axis.
        system: whether the machine's load is recorded with it.
    """

    key: str
    id: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    axes: Mapping[str, str]
    system: bool


@dataclass(frozen=True)
class Row:
    """Values that belong to one moment: numbers, lists of pictures, tables."""

    run: str
    values: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class Box:
    """A box (x0, y0, x1, y1) in pixels of its picture; an annotated one has no score."""

    corners: Sequence[float]
    score: float | None = None


@dataclass(frozen=True)
class Picture:
    """An image, and boxes on it by kind ("found", "annotated"), all of the thing `label`."""

    image: Image.Image
    caption: str
    label: str = ""
    boxes: Mapping[str, Sequence[Box]] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Summary:
    """Values that stand for a whole run."""

    run: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Files:
    """An artifact: name inside -> path of the file, which is never written again."""

    run: str
    name: str
    kind: str
    paths: Mapping[str, str]


@dataclass(frozen=True)
class Closing:
    """The last message; 0 where all is done. Without it the work was killed."""

    exit_code: int


Message = Run | Row | Summary | Files | Closing
